//! Who may connect to the socket in the file system, and what of one that a dead process left?

use super::StartError;
use std::path::Path;
use tokio::net::UnixListener;

/// A Unix socket that only this user may use; one that a dead process left is replaced. `shared` with the users of
/// proxies, anybody may connect and the listener asks the kernel who it is.
pub(super) fn unix(path: &Path, shared: bool) -> Result<UnixListener, StartError> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    let at = |error: std::io::Error| StartError(vec![format!("listen.unix: {}: {error}", path.display())]);
    let socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let refused = |error: std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
    if socket && std::os::unix::net::UnixStream::connect(path).is_err_and(refused) {
        std::fs::remove_file(path).map_err(at)?;
    }
    let listener = UnixListener::bind(path).map_err(at)?;
    let mode = if shared { 0o666 } else { 0o600 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(at)?;
    Ok(listener)
}
