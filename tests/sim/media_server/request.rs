//! A request, read strictly.

/// A request that is whole.
#[derive(Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    /// What is wrong with it is a clause.
    pub fn parse(bytes: &[u8]) -> Result<Request, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "is no text")?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or("has no end of its head")?;
        if head.replace("\r\n", "").contains(char::is_control) {
            return Err("has a control character".into());
        }
        let mut lines = head.split("\r\n");
        let line: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        let [method, target, "HTTP/1.1"] = line[..] else {
            return Err(format!("begins with {line:?}"));
        };
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(": ").ok_or("has a line that is no header")?;
            let is_token = name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
            if name.is_empty() || !is_token || value != value.trim() {
                return Err(format!("has the header {line:?}"));
            }
            let name = name.to_ascii_lowercase();
            if headers.iter().any(|(other, _)| *other == name) {
                return Err(format!("has {name} twice"));
            }
            headers.push((name, value.to_owned()));
        }
        let (method, target, body) = (method.to_owned(), target.to_owned(), body.to_owned());
        let request = Request { method, target, headers, body };
        let length = request.header("content-length").map(str::parse::<usize>);
        match (request.method.as_str(), length) {
            ("POST", Some(Ok(length))) if length == request.body.len() => Ok(request),
            ("DELETE", None) if request.body.is_empty() => Ok(request),
            _ => Err("has another length than it says".into()),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}
