//! What is answered: GET and HEAD are told about their connection, POST gets its body back.

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use hyper::{Method, Request, Response, StatusCode};
use openssl::ssl::{NameType, SslRef};

pub type Body = Either<Full<Bytes>, Incoming>;

/// What ALPN has chosen for HTTP/2.
const H2: &[u8] = b"h2";

/// What a connection is told about itself.
pub struct About {
    server_name: String,
    version: &'static str,
    cipher: &'static str,
    pub h2: bool,
}

impl About {
    pub fn of(ssl: &SslRef) -> About {
        let name = ssl.servername(NameType::HOST_NAME);
        About {
            server_name: name.unwrap_or("none").to_owned(),
            version: ssl.version_str(),
            cipher: ssl.current_cipher().map_or("none", |cipher| cipher.name()),
            h2: ssl.selected_alpn_protocol() == Some(H2),
        }
    }

    fn describe(&self, request: &Request<Incoming>, lookups: usize) -> String {
        format!(
            "path: {}\nserver name: {}\nversion: {}\ncipher: {}\nprotocol: {:?}\n\
             lookups in flight: {lookups}\n",
            request.uri().path(),
            self.server_name,
            self.version,
            self.cipher,
            request.version(),
        )
    }
}

pub fn answer(about: &About, request: Request<Incoming>, lookups: usize) -> Response<Body> {
    if request.method() == Method::POST {
        return Response::new(Either::Right(request.into_body()));
    }
    let mut text = match *request.method() {
        Method::GET | Method::HEAD => about.describe(&request, lookups),
        _ => "there are GET, HEAD and POST\n".to_owned(),
    };
    let len = text.len();
    if request.method() == Method::HEAD {
        text.clear();
    }
    let mut response = Response::new(Either::Left(Full::from(text)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, len.into());
    let plain = "text/plain; charset=utf-8";
    headers.insert(CONTENT_TYPE, plain.parse().expect("a header's value"));
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        headers.insert(ALLOW, "GET, HEAD, POST".parse().expect("likewise"));
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    }
    response
}
