//! A question over plain HTTP, for probes and metrics.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Gets `path` and gives the status and the body. HTTP/1.0, so that the body ends with the connection.
pub async fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let answer = timeout(LIMIT, exchange(address, path)).await;
    let answer =
        answer.with_context(|| format!("http://{address}{path} did not answer in {} s", LIMIT.as_secs()))??;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let status = head.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    let Some(status) = status else { bail!("the answer has no status: {head}") };
    Ok((status, body.to_owned()))
}

async fn exchange(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.with_context(|| format!("read the answer of http://{address}{path}"))?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::get;

    #[tokio::test]
    async fn an_answer_is_taken_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 1024];
            let length = stream.read(&mut question).unwrap();
            assert!(question[..length].starts_with(b"GET /readyz HTTP/1.0\r\n"));
            stream.write_all(b"HTTP/1.0 503 Service Unavailable\r\nA: b\r\n\r\nnot yet\n").unwrap();
        });
        assert_eq!(get(address, "/readyz").await.unwrap(), (503, "not yet\n".to_owned()));
        server.join().unwrap();
    }
}
