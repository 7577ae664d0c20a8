//! TLS programs of others, as clients and servers of ours.

mod curl;
mod gnutls_client;
mod gnutls_server;
mod openssl_client;
mod openssl_client_open;
mod openssl_server;
mod openssl_server_open;
