//! What mail servers say, and what it means. That one takes a letter is tried with a real one, end to end.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::crypto::provider;

const MESSAGE: &[u8] = b"Subject: x\r\n\r\nHello\r\n";

/// Answers a command by what it begins with; anything else is taken.
async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin, on: &'static str, answer: &'static str) {
    let mut stream = BufReader::new(stream);
    let _ = stream.write_all(b"220 mail.example.com\r\n").await;
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
        let said = if line.starts_with(on) {
            format!("{answer}\r\n")
        } else if line.starts_with("EHLO") {
            "250-mail.example.com\r\n250 AUTH PLAIN\r\n".to_owned()
        } else if line.starts_with("DATA") {
            "354 go on\r\n".to_owned()
        } else {
            "250 fine\r\n".to_owned()
        };
        line.clear();
        if stream.write_all(said.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A server that answers one command with this; where it listens.
async fn server(on: &'static str, answer: &'static str, tls: Option<TlsAcceptor>) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            match &tls {
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        talk(stream, on, answer).await;
                    }
                }
                None => talk(stream, on, answer).await,
            }
        }
    });
    (address, task)
}

/// A certificate that nobody vouches for.
fn stranger() -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn send(url: &str, recipient: &str) -> Result<(), MailTrouble> {
    let from = "fleet@example.com".parse().unwrap();
    MailServer::parse(url).unwrap().send(&from, recipient, MESSAGE).await
}

#[tokio::test]
async fn each_answer_means_what_its_code_says() {
    for (on, answer, expected) in [
        ("RCPT", "550 no such mailbox", MailTrouble::Refused(550)),
        ("MAIL", "554 not from you", MailTrouble::Refused(554)),
        ("RCPT", "451 try later", MailTrouble::Deferred(451)),
        ("DATA", "452 full", MailTrouble::Deferred(452)),
        ("MAIL", "530 sign in first", MailTrouble::Credentials),
        ("EHLO", "garbage", MailTrouble::Unreachable),
    ] {
        let (address, task) = server(on, answer, None).await;
        let sent = send(&format!("smtp://{address}"), "mary@example.com").await;
        assert_eq!(sent, Err(expected), "{answer}");
        let told = expected.remedy();
        assert!(!told.contains("mailbox") && !told.contains("mary"), "{told}");
        task.abort();
    }
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_gets_no_letter() {
    let (address, task) = server("-", "", Some(stranger())).await;
    assert_eq!(send(&format!("smtps://fleet:secret@{address}"), "mary@example.com").await, Err(MailTrouble::Tls));
    task.abort();
    let (address, task) = server("-", "", None).await;
    let upgraded = format!("smtp://fleet:secret@{address}?tls=required");
    assert_eq!(send(&upgraded, "mary@example.com").await, Err(MailTrouble::Tls), "it has no STARTTLS");
    task.abort();
    let _ = task.await;
    assert_eq!(send(&upgraded, "mary@example.com").await, Err(MailTrouble::Unreachable), "nobody listens");
}

#[tokio::test]
async fn what_is_no_letter_is_not_sent() {
    assert_eq!(send("smtp://127.0.0.1:1", "mary").await, Err(MailTrouble::Spoiled));
}

#[test]
fn a_password_is_sent_over_tls_alone_and_never_shown() {
    for good in [
        "smtps://fleet:s3cret@mail.example.com",
        "smtp://fleet:s3cret@mail.example.com:587?tls=required",
        "smtp://relay.internal:25",
        "smtps://mail.example.com:465",
        "smtp://fleet:s3cret@mail.example.com:587?tls=required\n",
    ] {
        let server = MailServer::parse(good).unwrap();
        assert!(!format!("{server:?}").contains("s3cret"));
    }
    for (bad, expected) in [
        ("smtp://fleet:s3cret@mail.example.com", NoMailServer::Clear),
        ("smtp://fleet:s3cret@mail.example.com?tls=opportunistic", NoMailServer::Clear),
        ("smtp://fleet:s3/cret@mail.example.com", NoMailServer::Clear),
        ("mail.example.com", NoMailServer::Malformed),
        ("https://mail.example.com", NoMailServer::Malformed),
        ("smtps://", NoMailServer::Malformed),
    ] {
        let error = MailServer::parse(bad).unwrap_err();
        assert_eq!(error, expected, "{bad}");
        assert!(!error.to_string().contains("s3cret"));
    }
}
