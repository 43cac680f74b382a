//! Files, as the hands reach them: with the rights of any program inside.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::wire::FileFault;

fn fault(error: &io::Error) -> FileFault {
    match error.kind() {
        io::ErrorKind::NotFound => FileFault::Missing,
        _ => FileFault::Refused {
            why: error.to_string(),
        },
    }
}

/// Whether it is a file, and how long. A pipe would be waited for, and a device never ends.
fn length(path: &Path) -> Result<u64, FileFault> {
    let status = fs::metadata(path).map_err(|error| fault(&error))?;
    if status.is_dir() {
        let what = "a directory".into();
        return Err(FileFault::NoFile { what });
    }
    if !status.is_file() {
        let what = "a device or a pipe".into();
        return Err(FileFault::NoFile { what });
    }
    Ok(status.len())
}

/// A file's content.
pub(super) fn read(path: &Path, most: u64) -> Result<Vec<u8>, FileFault> {
    let bytes = length(path)?;
    if bytes > most {
        return Err(FileFault::TooLong { bytes, most });
    }
    let file = fs::File::open(path).map_err(|error| fault(&error))?;
    let mut content = Vec::new();
    let read = file.take(most).read_to_end(&mut content);
    read.map_err(|error| fault(&error))?;
    Ok(content)
}

/// Writes a file anew beside the old one and puts it in its place, so that nobody reads half of it.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), FileFault> {
    let mode = match length(path) {
        Ok(_) => fs::metadata(path).map_or(0o644, |status| status.permissions().mode()),
        Err(FileFault::Missing) => 0o644,
        Err(other) => return Err(other),
    };
    // A link is followed to what it names.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(|error| fault(&error))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".matrix-new");
    let beside = parent.join(name);
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode & 0o777)
        .open(&beside)
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| fs::set_permissions(&beside, fs::Permissions::from_mode(mode & 0o777)))
        .and_then(|()| fs::rename(&beside, &path));
    written.map_err(|error| {
        drop(fs::remove_file(&beside));
        fault(&error)
    })
}
