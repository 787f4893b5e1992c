//! HTTP/1.1 (RFC 9112), as much as answers a browser: GET and HEAD, answers of known length, connections that stay.

use alloc::format;
use alloc::vec::Vec;

/// Most bytes of a request's head.
pub const HEAD_LIMIT: usize = 4096;

/// The head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// What is asked for, without the query.
    pub path: &'a str,
    /// Whether only the head of the answer is.
    pub head_only: bool,
    /// Whether the connection stays afterwards.
    pub stays: bool,
    /// Bytes of the head.
    pub length: usize,
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is none.
    Bad,
    /// Another method than GET and HEAD.
    Method,
    /// Its head is too long.
    Long,
}

impl Refusal {
    /// Status and reason.
    pub fn status(self) -> &'static str {
        match self {
            Refusal::Bad => "400 Bad Request",
            Refusal::Method => "405 Method Not Allowed",
            Refusal::Long => "431 Request Header Fields Too Large",
        }
    }
}

/// The request at the beginning of what was received; `None` = its head is not complete.
///
/// # Errors
/// See [`Refusal`].
pub fn parse(bytes: &[u8]) -> Result<Option<Request<'_>>, Refusal> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > HEAD_LIMIT {
            Err(Refusal::Long)
        } else {
            Ok(None)
        };
    };
    if end > HEAD_LIMIT {
        return Err(Refusal::Long);
    }
    let head = core::str::from_utf8(&bytes[..end]).map_err(|_| Refusal::Bad)?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or("").split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Refusal::Bad);
    };
    let minor = version.strip_prefix("HTTP/1.").ok_or(Refusal::Bad)?;
    if !target.starts_with('/') {
        return Err(Refusal::Bad);
    }
    if !matches!(method, "GET" | "HEAD") {
        return Err(Refusal::Method);
    }
    let mut stays = minor != "0";
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(Refusal::Bad)?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("connection") {
            stays = if stays {
                !value.eq_ignore_ascii_case("close")
            } else {
                value.eq_ignore_ascii_case("keep-alive")
            };
        }
        let body = name.eq_ignore_ascii_case("transfer-encoding")
            || (name.eq_ignore_ascii_case("content-length") && value != "0");
        if body {
            return Err(Refusal::Bad);
        }
    }
    Ok(Some(Request {
        path: target.split('?').next().unwrap_or(target),
        head_only: method == "HEAD",
        stays,
        length: end + 4,
    }))
}

/// An answer.
pub fn answer(status: &str, kind: &str, body: &[u8], head_only: bool, stays: bool) -> Vec<u8> {
    let connection = if stays { "keep-alive" } else { "close" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
        body.len()
    );
    let mut answer = head.into_bytes();
    if !head_only {
        answer.extend_from_slice(body);
    }
    answer
}

/// What a file holds, by its name.
pub fn kind_of(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css",
        "js" => "text/javascript",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_when_its_head_is_complete() {
        let whole = b"GET /a/b.html?x=1 HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n";
        let request = parse(whole).unwrap().unwrap();
        assert_eq!(request.length, 39);
        for length in 0..request.length {
            assert_eq!(parse(&whole[..length]), Ok(None));
        }
        assert_eq!(
            (request.path, request.head_only, request.stays),
            ("/a/b.html", false, true)
        );
        assert!(whole[request.length..].starts_with(b"GET / "));
        let ends = |text: &str| !parse(text.as_bytes()).unwrap().unwrap().stays;
        assert!(ends("GET / HTTP/1.0\r\n\r\n"));
        assert!(ends("GET / HTTP/1.1\r\nconnection: Close\r\n\r\n"));
        assert!(!ends("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for (text, refusal) in [
            ("GET /\r\n\r\n", Refusal::Bad),
            ("GET x HTTP/1.1\r\n\r\n", Refusal::Bad),
            ("GET / HTTP/2\r\n\r\n", Refusal::Bad),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", Refusal::Bad),
            ("GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", Refusal::Bad),
            ("POST / HTTP/1.1\r\n\r\n", Refusal::Method),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(refusal), "{text:?}");
        }
        assert_eq!(parse(&[0xff; HEAD_LIMIT + 1]), Err(Refusal::Long));
        assert_eq!(parse(b"\xff\r\n\r\n"), Err(Refusal::Bad));
    }

    #[test]
    fn an_answer_says_its_length() {
        let answer = answer("200 OK", kind_of("x.html"), b"abc", false, false);
        let text = core::str::from_utf8(&answer).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 3\r\n"));
        assert!(text.ends_with("Connection: close\r\n\r\nabc"));
    }
}
