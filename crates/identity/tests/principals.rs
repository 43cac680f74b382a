//! Users, tokens and the owner, through the public doors and a real database.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use matrix_core::{
    Authorised, Caller, Clock, Entropy, Principal, PrincipalKind, Problem, Scope, Timestamp,
};
use matrix_identity::policy::{Access, PolicyEngine, Roster, Source};
use matrix_identity::principals::AccountState;
use matrix_identity::{Accounts, NewUser, Role, Token, UserAdd, UserError, UserRead};
use matrix_store::tables::audit;
use matrix_store::{Database, OpenMode, StoreError};
use tempfile::TempDir;

/// A clock that can be set, also back.
#[derive(Debug)]
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// Bytes that never repeat.
#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(32) {
            let number = self.0.fetch_add(1, Ordering::Relaxed);
            let digest = matrix_core::Digest::of(number.to_be_bytes());
            chunk.copy_from_slice(&digest.as_bytes()[..chunk.len()]);
        }
    }
}

struct World {
    directory: TempDir,
    database: Database,
    clock: Arc<SetClock>,
    accounts: Accounts,
}

fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("matrix.db"), OpenMode::Host).unwrap();
    let clock = Arc::new(SetClock(AtomicI64::new(1_800_000_000_000_000)));
    let entropy = Arc::new(Counting::default());
    let accounts = Accounts::new(database.clone(), clock.clone(), entropy, Scope::local());
    World {
        directory,
        database,
        clock,
        accounts,
    }
}

impl World {
    fn access(&self) -> Access {
        let engine = PolicyEngine::from_sources(&[Source::built_in()]).unwrap();
        Access::new(Arc::new(engine), Arc::new(self.accounts.clone()))
    }

    async fn add(&self, by: &Caller, name: &str, roles: &[Role]) -> Result<NewUser, UserError> {
        let action = UserAdd {
            name: name.into(),
            roles: roles.iter().copied().collect(),
        };
        let request = Authorised::obtain(&self.access(), by.clone(), action).unwrap();
        self.accounts.user_add(request).await
    }

    fn acts(&self, caller: &Caller) -> Vec<(String, String, String)> {
        let acts: Result<Vec<audit::Act>, StoreError> =
            self.database.read_now(|tx| audit::list(tx, caller, 100));
        let acts = acts.unwrap().into_iter();
        acts.map(|act| (act.actor, act.action, act.subject))
            .collect()
    }
}

fn user(name: &str) -> Principal {
    Principal {
        kind: PrincipalKind::User,
        name: name.into(),
    }
}

#[tokio::test]
async fn the_first_operating_system_user_owns_the_directory_for_good() {
    let world = world();
    let ada = world.accounts.claim("ada").await.unwrap();
    assert_eq!(world.accounts.claim("ada").await.unwrap(), ada);
    let owned = vec![("user:ada".into(), "owner_claim".into(), "user:ada".into())];
    assert_eq!(
        world.acts(&ada),
        owned,
        "claiming again must leave no second act"
    );
    // With the clock set back, later accounts sort before the owner's.
    world.clock.0.store(1_000_000, Ordering::Relaxed);
    world.add(&ada, "ben", &[Role::Approver]).await.unwrap();
    for other in ["ben", "mallory", "Ada"] {
        let error = world.accounts.claim(other).await.unwrap_err();
        assert!(
            matches!(&error, UserError::OtherOwner { owner, .. } if owner == "ada"),
            "{other} claimed it: {error:?}"
        );
    }
    for bad in ["", "a\nb", &"x".repeat(300)] {
        assert!(matches!(
            world.accounts.claim(bad).await,
            Err(UserError::BadName(_))
        ));
    }
}

#[tokio::test]
async fn a_user_is_added_with_a_token_that_signs_in_and_is_not_stored() {
    let world = world();
    let ada = world.accounts.claim("ada").await.unwrap();
    let roles = [Role::Approver, Role::Submitter];
    // Ids are in the order of their milliseconds.
    world.clock.0.fetch_add(1_000, Ordering::Relaxed);
    let new = world.add(&ada, "ben", &roles).await.unwrap();
    let ben = world
        .accounts
        .authenticate(new.token.reveal())
        .unwrap()
        .unwrap();
    assert_eq!(ben.principal, user("ben"));
    assert_eq!(world.accounts.roles_of(&ben.principal), Some(roles.into()));
    assert_eq!(
        world.acts(&ada)[0],
        ("user:ada".into(), "user_add".into(), "user:ben".into())
    );
    let request = Authorised::obtain(&world.access(), ben, UserRead::default()).unwrap();
    let listed = world.accounts.user_list(&request).unwrap();
    let names: Vec<&str> = listed
        .iter()
        .map(|account| account.principal.name.as_str())
        .collect();
    assert_eq!(names, ["ada", "ben"]);
    assert!(
        listed
            .iter()
            .all(|account| account.state == AccountState::Active)
    );
    for entry in fs::read_dir(world.directory.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        let secret = new.token.reveal().as_bytes();
        assert!(
            !bytes.windows(secret.len()).any(|window| window == secret),
            "the token itself was stored"
        );
    }
}

#[tokio::test]
async fn only_a_token_in_force_signs_in() {
    let world = world();
    let ada = world.accounts.claim("ada").await.unwrap();
    let new = world.add(&ada, "ben", &[Role::Submitter]).await.unwrap();
    let secret = new.token.reveal();
    let mut changed = secret.to_owned();
    let last = if changed.pop() == Some('0') { 'g' } else { '0' };
    changed.push(last);
    let padded = format!(" {secret}");
    let upper = secret.to_uppercase();
    for wrong in ["", "mtx_", "ada", &changed, &padded, &upper, &secret[..40]] {
        assert_eq!(world.accounts.authenticate(wrong).unwrap(), None, "{wrong}");
    }
    let elsewhere = Scope {
        organisation: "other".into(),
        workspace: "default".into(),
    };
    let other = Accounts::new(
        world.database.clone(),
        world.clock.clone(),
        Arc::new(Counting::default()),
        elsewhere,
    );
    assert_eq!(
        other.authenticate(secret).unwrap(),
        None,
        "a token of another scope signed in"
    );
    assert_eq!(other.roles_of(&user("ada")), None);
}

#[tokio::test]
async fn names_and_roles_that_cannot_be_given_change_nothing() {
    let world = world();
    let ada = world.accounts.claim("ada").await.unwrap();
    world.add(&ada, "ben", &[Role::Approver]).await.unwrap();
    let before = world.acts(&ada).len();
    for name in ["ada", "ADA", "ben", "Ben"] {
        let error = world.add(&ada, name, &[Role::Approver]).await.unwrap_err();
        assert!(matches!(error, UserError::Exists(_)), "{name}: {error:?}");
        assert_eq!(Problem::from(error).code.text, "USER-0002");
    }
    let long = "x".repeat(65);
    for name in [
        "",
        "-ben",
        "b n",
        "b\u{435}n",
        "a/b",
        "user:x",
        "ben\n",
        &long,
    ] {
        let error = world.add(&ada, name, &[Role::Approver]).await.unwrap_err();
        assert!(matches!(error, UserError::BadName(_)), "{name}: {error:?}");
    }
    for roles in [&[][..], &[Role::Owner], &[Role::Owner, Role::Approver]] {
        let error = world.add(&ada, "cleo", roles).await.unwrap_err();
        assert!(matches!(error, UserError::BadRoles), "{roles:?}: {error:?}");
    }
    assert_eq!(
        world.acts(&ada).len(),
        before,
        "a refused act left an audit row"
    );
    assert_eq!(world.accounts.find(&user("cleo")).unwrap(), None);
}

#[tokio::test]
async fn only_the_owner_adds_users() {
    let world = world();
    let ada = world.accounts.claim("ada").await.unwrap();
    let new = world
        .add(&ada, "ben", &[Role::Approver, Role::Submitter])
        .await
        .unwrap();
    let ben = world
        .accounts
        .authenticate(new.token.reveal())
        .unwrap()
        .unwrap();
    let stranger = world.accounts.owner_caller("mallory");
    let agent = Caller {
        principal: Principal {
            kind: PrincipalKind::Agent,
            name: "coder".into(),
        },
        scope: Scope::local(),
        on_behalf_of: vec![ada.principal.clone()],
    };
    for caller in [ben, stranger, agent] {
        let action = UserAdd {
            name: "eve".into(),
            roles: [Role::Approver].into(),
        };
        let denied = Authorised::obtain(&world.access(), caller, action).unwrap_err();
        assert_eq!(denied.action, "user_add");
    }
}

#[tokio::test]
async fn a_second_user_ends_the_single_user_directory_and_a_program_does_not() {
    let world = world();
    assert!(!world.accounts.single_user().unwrap(), "nobody is not one");
    let ada = world.accounts.claim("ada").await.unwrap();
    assert!(world.accounts.single_user().unwrap());
    let file = world.directory.path().join("token");
    world
        .accounts
        .ensure_service_token(&ada, "api", &file)
        .await
        .unwrap();
    assert!(world.accounts.single_user().unwrap());
    world.add(&ada, "ben", &[Role::Approver]).await.unwrap();
    assert!(!world.accounts.single_user().unwrap());
}

#[tokio::test]
async fn the_service_token_is_private_stays_and_is_replaced_when_it_leaked() {
    let world = world();
    let ada = world.accounts.claim("ada").await.unwrap();
    let file = world.directory.path().join("token");
    let ensure = || world.accounts.ensure_service_token(&ada, "api", &file);
    let secret = || fs::read_to_string(&file).unwrap().trim().to_owned();
    let service = ensure().await.unwrap();
    assert_eq!(service.principal.to_string(), "service:api");
    let first = secret();
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        world.accounts.authenticate(&first).unwrap(),
        Some(service.clone())
    );
    ensure().await.unwrap();
    assert_eq!(secret(), first, "a valid token must stay");
    // Readable by others: it may have leaked.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    ensure().await.unwrap();
    let second = secret();
    assert_ne!(second, first);
    assert_eq!(
        world.accounts.authenticate(&first).unwrap(),
        None,
        "a leaked token is in force"
    );
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    // Lost, damaged, or somebody else's.
    fs::remove_file(&file).unwrap();
    ensure().await.unwrap();
    let third = secret();
    assert_eq!(world.accounts.authenticate(&second).unwrap(), None);
    let ben = world.add(&ada, "ben", &[Role::Approver]).await.unwrap();
    for content in ["garbage", ben.token.reveal(), ""] {
        fs::write(&file, content).unwrap();
        assert_eq!(ensure().await.unwrap(), service);
        let now = secret();
        assert!(Token::parse(&now).is_some() && now != third && now != ben.token.reveal());
        assert_eq!(
            world.accounts.authenticate(&now).unwrap(),
            Some(service.clone())
        );
    }
    let left = fs::read_dir(world.directory.path()).unwrap().count();
    let names = ["token", "matrix.db", "matrix.db-wal", "matrix.db-shm"];
    assert_eq!(left, names.len(), "a temporary file was left");
}

#[tokio::test]
async fn something_else_in_the_place_of_the_token_file_is_an_error_and_no_token_counts() {
    let world = world();
    let ada = world.accounts.claim("ada").await.unwrap();
    let target = world.directory.path().join("elsewhere");
    let link = world.directory.path().join("token");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    for file in [link.as_path(), world.directory.path()] {
        let error = world
            .accounts
            .ensure_service_token(&ada, "api", file)
            .await
            .unwrap_err();
        assert_eq!(Problem::from(error).code.text, "AUTH-0003");
    }
    assert!(!target.exists());
    let missing = world.directory.path().join("no/such/directory/token");
    world
        .accounts
        .ensure_service_token(&ada, "api", &missing)
        .await
        .unwrap_err();
    let service = Principal {
        kind: PrincipalKind::ServiceAccount,
        name: "api".into(),
    };
    assert_eq!(
        world.accounts.find(&service).unwrap(),
        None,
        "an account without its file"
    );
}

#[tokio::test]
async fn the_service_account_submits_and_reads_and_never_approves() {
    let world = world();
    let ada = world.accounts.claim("ada").await.unwrap();
    let file = world.directory.path().join("token");
    let service = world
        .accounts
        .ensure_service_token(&ada, "api", &file)
        .await
        .unwrap();
    let access = world.access();
    let may = |action| {
        access
            .explain(&service, action, &serde_json::json!({}))
            .allowed
    };
    assert!(may("change_submit") && may("change_read") && may("artifact_read"));
    for action in [
        "change_approve",
        "change_reject",
        "user_add",
        "signing_key_rotate",
        "run_cancel",
    ] {
        assert!(!may(action), "{action}");
    }
}

#[tokio::test]
async fn a_name_of_another_case_is_another_principal_and_unknown() {
    let world = world();
    world.accounts.claim("ada").await.unwrap();
    assert!(world.accounts.roles_of(&user("ada")).is_some());
    assert_eq!(world.accounts.roles_of(&user("ADA")), None);
}
