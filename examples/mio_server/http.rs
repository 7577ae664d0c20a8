//! HTTP/1.1, as much as an echo server needs: the heads of requests, and answers.

use httparse::{Header, Status, EMPTY_HEADER};

/// What a request's head may have, in bytes.
pub const MOST_HEAD: usize = 16 * 1024;
const MOST_HEADERS: usize = 100;
/// What a request's body may have, in bytes.
const MOST_BODY: usize = 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
}

#[derive(Debug)]
pub struct Request {
    pub method: Method,
    pub path: String,
    /// The body's length.
    pub body: usize,
    /// Whether the client waits to be told before it sends the body.
    pub expects_continue: bool,
    pub keep_alive: bool,
}

/// Why there is no answer but this one, after which the connection is closed.
#[derive(Debug)]
pub struct Refusal {
    pub status: &'static str,
    pub why: &'static str,
}

fn refuse<T>(status: &'static str, why: &'static str) -> Result<T, Refusal> {
    Err(Refusal { status, why })
}

impl Request {
    /// The request whose head is at the start, and the head's length; `None` if there is more to
    /// come.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, Refusal> {
        let mut headers = [EMPTY_HEADER; MOST_HEADERS];
        let mut head = httparse::Request::new(&mut headers);
        let len = match head.parse(bytes) {
            Ok(Status::Complete(len)) if len <= MOST_HEAD => len,
            Ok(Status::Partial) if bytes.len() < MOST_HEAD => return Ok(None),
            Ok(_) => return refuse(TOO_LARGE, "the head of a request has 16 KiB at most"),
            Err(httparse::Error::TooManyHeaders) => {
                return refuse(TOO_LARGE, "a request has 100 headers at most");
            }
            Err(httparse::Error::Version) => {
                return refuse(
                    "505 HTTP Version Not Supported",
                    "this server speaks HTTP/1.1",
                );
            }
            Err(_) => return refuse(BAD, "this is not HTTP"),
        };
        let http_11 = head.version == Some(1);
        let method = head.method.unwrap_or_default();
        let path = head.path.unwrap_or_default().to_owned();
        Request::new(method, path, http_11, head.headers).map(|request| Some((request, len)))
    }

    fn new(
        method: &str,
        path: String,
        http_11: bool,
        headers: &[Header<'_>],
    ) -> Result<Request, Refusal> {
        if http_11 && values(headers, "host").count() != 1 {
            return refuse(BAD, "a request has one Host");
        }
        let body = body_len(headers)?;
        let method = match method {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            _ => return refuse("405 Method Not Allowed", "there are GET, HEAD and POST"),
        };
        let expects = |what| values(headers, "expect").any(|value| is(value, what));
        Ok(Request {
            method,
            path,
            body,
            expects_continue: http_11 && expects("100-continue"),
            keep_alive: match http_11 {
                true => !connection_has(headers, "close"),
                false => connection_has(headers, "keep-alive"),
            },
        })
    }
}

const BAD: &str = "400 Bad Request";
const TOO_LARGE: &str = "431 Request Header Fields Too Large";

fn body_len(headers: &[Header<'_>]) -> Result<usize, Refusal> {
    let mut lengths = values(headers, "content-length");
    let length = lengths.next();
    if lengths.next().is_some() {
        return refuse(BAD, "a request has one Content-Length");
    }
    // Two ways to say where the body ends are how requests are smuggled past others.
    match (length, values(headers, "transfer-encoding").next()) {
        (Some(_), Some(_)) => refuse(BAD, "either Content-Length or Transfer-Encoding"),
        (None, Some(_)) => refuse(
            "411 Length Required",
            "this server takes a body with its Content-Length, not in chunks",
        ),
        (None, None) => Ok(0),
        (Some(digits), None) if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) => {
            refuse(BAD, "Content-Length is a number")
        }
        // What is no `usize` is too large, too.
        (Some(digits), None) => match std::str::from_utf8(digits).unwrap_or_default().parse() {
            Ok(len) if len <= MOST_BODY => Ok(len),
            _ => refuse("413 Content Too Large", "a body has 1 MiB at most"),
        },
    }
}

fn values<'a>(headers: &'a [Header<'_>], name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value.trim_ascii())
}

fn is(value: &[u8], what: &str) -> bool {
    value.trim_ascii().eq_ignore_ascii_case(what.as_bytes())
}

fn connection_has(headers: &[Header<'_>], option: &str) -> bool {
    values(headers, "connection").any(|value| value.split(|b| *b == b',').any(|it| is(it, option)))
}

/// An answer, all of it; to `HEAD` without its body.
pub fn answer(request: &Request, content_type: &str, body: &[u8]) -> Vec<u8> {
    let body_sent = match request.method {
        Method::Head => &[],
        Method::Get | Method::Post => body,
    };
    let connection = match request.keep_alive {
        true => "keep-alive",
        false => "close",
    };
    let mut bytes = head("200 OK", content_type, body.len(), connection);
    bytes.extend(body_sent);
    bytes
}

impl Refusal {
    pub fn answer(&self) -> Vec<u8> {
        let mut body = self.why.to_owned();
        body.push('\n');
        let mut bytes = head(
            self.status,
            TEXT,
            body.len(),
            "close\r\nAllow: GET, HEAD, POST",
        );
        bytes.extend(body.as_bytes());
        bytes
    }
}

pub const TEXT: &str = "text/plain; charset=utf-8";

/// What a client is told that asks before it sends a body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

fn head(status: &str, content_type: &str, len: usize, connection: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len}\r\n\
         Connection: {connection}\r\n\r\n"
    )
    .into_bytes()
}
