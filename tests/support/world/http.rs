//! HTTP clients of the world.

use super::*;

impl World {
    pub fn post_offer(&mut self, from: SocketAddr, body: &str) -> (u16, Value) {
        let head = format!(
            "POST /offer HTTP/1.1\r\nHost: camera\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.http(from, &(head + body))
    }

    pub fn stats(&mut self) -> Value {
        let request = "GET /stats HTTP/1.1\r\nHost: camera\r\n\r\n";
        self.http("10.0.0.99:1000".parse().unwrap(), request).1
    }

    /// Sends one request on a new connection, and returns the status and the JSON body.
    pub fn http(&mut self, from: SocketAddr, request: &str) -> (u16, Value) {
        let response = self.http_raw(from, request.as_bytes());
        let text = String::from_utf8(response).unwrap();
        let status = text.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    pub fn http_raw(&mut self, from: SocketAddr, request: &[u8]) -> Vec<u8> {
        let id = self.connect(from);
        self.input(Input::Received(id, request));
        let answers = self.read_answers(id);
        if !self.is_closed(id) {
            self.input(Input::Disconnected(id));
        }
        answers
    }

    /// What is sent on a connection until its peer has taken all.
    pub fn read_answers(&mut self, id: ConnId) -> Vec<u8> {
        let mut answers = Vec::new();
        loop {
            let sent = self.take_sent(id);
            if sent.is_empty() {
                return answers;
            }
            answers.extend(sent);
            if !self.is_closed(id) {
                self.input(Input::Flushed(id));
            }
        }
    }

    pub fn connect(&mut self, from: SocketAddr) -> ConnId {
        let id = ConnId(self.next_connection);
        self.next_connection += 1;
        self.input(Input::Connected(id, from));
        id
    }

    /// What was sent on a connection since the last call.
    pub fn take_sent(&mut self, id: ConnId) -> Vec<u8> {
        let (own, others) =
            std::mem::take(&mut self.responses).into_iter().partition(|r| r.0 == id);
        self.responses = others;
        let own: Vec<(ConnId, Vec<u8>)> = own;
        own.into_iter().flat_map(|(_, bytes)| bytes).collect()
    }

    pub fn is_closed(&self, id: ConnId) -> bool {
        self.closed.contains(&id)
    }
}
