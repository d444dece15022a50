//! A look at the admin port's `/metrics`, by a GET so small that it needs no client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// The lines of one counter, as the admin port has them now.
///
/// # Errors
/// Nobody answers there, or not with metrics.
pub fn counter(admin: SocketAddr, name: &str) -> Result<Vec<String>, String> {
    let body = get(admin, "/metrics").map_err(|error| format!("http://{admin}/metrics: {error}"))?;
    let prefix = format!("{name}{{");
    Ok(body.lines().filter(|line| line.starts_with(&prefix)).map(str::to_owned).collect())
}

/// The number at the end of a counter's line.
#[must_use]
pub fn value(line: &str) -> u64 {
    line.rsplit_once(' ').and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

fn get(admin: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // HTTP/1.0, so that the answer comes in one piece and not in chunks.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {admin}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(std::io::Error::other(format!("answered `{status}`")));
    }
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Answers one connection with `answer`.
    fn server(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 256];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn another_status_than_200_is_an_error() {
        let address = server("HTTP/1.0 404 Not Found\r\n\r\na{} 1\n");
        assert!(counter(address, "a").is_err_and(|why| why.contains("404")));
    }

    #[test]
    fn only_the_counter_that_is_named_is_shown() {
        let address = server("HTTP/1.0 200 OK\r\nx: y\r\n\r\n# a\na{b=\"c\"} 2\nab{} 3\n");
        let lines = counter(address, "a").unwrap();
        assert_eq!(lines, ["a{b=\"c\"} 2"]);
        assert_eq!(value(&lines[0]), 2);
    }
}
