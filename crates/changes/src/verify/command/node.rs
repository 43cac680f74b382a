//! Commands of Node.

use matrix_evidence::Kind;

use super::{Missing, Planned, REPORT_DIR, Reader, exit_reader, words};
use crate::verify::detect::NodeManager;
use matrix_sandbox::toolchain::{Tool, Toolchain};

impl Planned {
    pub(super) fn node_script(
        &mut self,
        kind: Kind,
        manager: NodeManager,
        script: &str,
        toolchain: &Toolchain,
    ) -> Result<(), Missing> {
        let (program, tool) = match manager {
            NodeManager::Npm => ("npm", Tool::Npm),
            NodeManager::Pnpm => ("pnpm", Tool::Pnpm),
        };
        if !toolchain.tools.contains(&tool) {
            let reason = format!(
                "the script `{script}` needs {program}, which was not found; install it beside node"
            );
            return Err(Missing(reason));
        }
        self.command = words(&[program, "run", "--silent", script]);
        self.reader = exit_reader(kind);
        Ok(())
    }

    pub(super) fn node_test(&mut self, arguments: &str, toolchain: &Toolchain) {
        let major = toolchain
            .version
            .trim_start_matches("node v")
            .split('.')
            .next()
            .and_then(|major| major.parse::<u32>().ok());
        // The reporter for JUnit came with Node 20.
        let line = if major.is_some_and(|major| major >= 20) {
            self.reader = Reader::Junit;
            format!(
                "exec node --test --test-reporter=spec --test-reporter-destination=stdout \
                 --test-reporter=junit --test-reporter-destination={REPORT_DIR}/node.xml {arguments}"
            )
        } else {
            self.reader = Reader::JunitOrExit;
            format!("exec node --test {arguments}")
        };
        self.command = words(&["/bin/sh", "-c", line.trim()]);
    }
}
