//! Answers as JSON, written straight into the body: payloads are encoded from the log without a copy between.

use std::fmt::Display;
use std::io::Write;

/// Writes one answer. An operation that writes nothing answers an empty body, as the service does.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    body: Vec<u8>,
    /// Whether the next key or list item comes after another.
    follows: bool,
}

impl Writer {
    pub(crate) fn into_body(self) -> Vec<u8> {
        self.body
    }

    pub(crate) fn reserve(&mut self, additional: usize) {
        self.body.reserve(additional);
    }

    pub(crate) fn begin_map(&mut self) {
        self.open(b'{');
    }

    pub(crate) fn end_map(&mut self) {
        self.close(b'}');
    }

    pub(crate) fn begin_list(&mut self) {
        self.open(b'[');
    }

    pub(crate) fn end_list(&mut self) {
        self.close(b']');
    }

    /// The name of the next member: one of ours, so it needs no escapes.
    pub(crate) fn key(&mut self, name: &str) {
        self.separate();
        self.body.push(b'"');
        self.body.extend_from_slice(name.as_bytes());
        self.body.extend_from_slice(b"\":");
        self.follows = false;
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.separate();
        self.body.push(b'"');
        write_escaped(&mut self.body, text);
        self.body.push(b'"');
        self.follows = true;
    }

    /// Text of ours that needs no escapes: numbers, ids.
    pub(crate) fn plain(&mut self, text: impl Display) {
        self.separate();
        self.body.push(b'"');
        self.print(&text);
        self.body.push(b'"');
        self.follows = true;
    }

    pub(crate) fn integer(&mut self, value: u64) {
        self.separate();
        self.print(&value);
        self.follows = true;
    }

    pub(crate) fn boolean(&mut self, value: bool) {
        self.separate();
        self.print(&value);
        self.follows = true;
    }

    /// Whole milliseconds as decimal seconds: never through binary floating point, which would show users a
    /// millisecond less.
    pub(crate) fn timestamp(&mut self, millis: u64) {
        self.separate();
        let (seconds, rest) = (millis / 1000, millis % 1000);
        if rest == 0 {
            self.print(&seconds);
        } else {
            let decimals = format!("{rest:03}");
            self.print(&format_args!("{seconds}.{}", decimals.trim_end_matches('0')));
        }
        self.follows = true;
    }

    pub(crate) fn blob(&mut self, bytes: &[u8]) {
        self.separate();
        self.body.push(b'"');
        base64_simd::STANDARD.encode_append(bytes, &mut self.body);
        self.body.push(b'"');
        self.follows = true;
    }

    pub(crate) fn text_member(&mut self, name: &str, text: &str) {
        self.key(name);
        self.text(text);
    }

    pub(crate) fn plain_member(&mut self, name: &str, text: impl Display) {
        self.key(name);
        self.plain(text);
    }

    pub(crate) fn integer_member(&mut self, name: &str, value: u64) {
        self.key(name);
        self.integer(value);
    }

    pub(crate) fn boolean_member(&mut self, name: &str, value: bool) {
        self.key(name);
        self.boolean(value);
    }

    fn open(&mut self, bracket: u8) {
        self.separate();
        self.body.push(bracket);
        self.follows = false;
    }

    fn close(&mut self, bracket: u8) {
        self.body.push(bracket);
        self.follows = true;
    }

    fn separate(&mut self) {
        if self.follows {
            self.body.push(b',');
        }
    }

    fn print(&mut self, what: &dyn Display) {
        write!(self.body, "{what}").expect("writing to memory cannot fail");
    }
}

fn write_escaped(body: &mut Vec<u8>, text: &str) {
    let needs_escape = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    if !text.bytes().any(needs_escape) {
        body.extend_from_slice(text.as_bytes());
        return;
    }
    for byte in text.bytes() {
        match byte {
            b'"' => body.extend_from_slice(b"\\\""),
            b'\\' => body.extend_from_slice(b"\\\\"),
            0..0x20 => write!(body, "\\u{byte:04x}").expect("writing to memory cannot fail"),
            _ => body.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Writer)) -> String {
        let mut writer = Writer::default();
        write(&mut writer);
        String::from_utf8(writer.into_body()).unwrap()
    }

    #[test]
    fn nested_values_get_their_commas() {
        let text = written(|w| {
            w.begin_map();
            w.key("List");
            w.begin_list();
            w.integer(1);
            w.begin_map();
            w.boolean_member("A", true);
            w.text_member("B", "x\"\n");
            w.end_map();
            w.begin_list();
            w.end_list();
            w.end_list();
            w.plain_member("C", 7);
            w.key("D");
            w.blob(b"\0\x01\x02\x03");
            w.end_map();
        });
        assert_eq!(text, r#"{"List":[1,{"A":true,"B":"x\"\u000a"},[]],"C":"7","D":"AAECAw=="}"#);
    }

    #[test]
    fn timestamps_are_decimals_of_the_stored_integer() {
        let cases =
            [(0, "0"), (1_700_000_000_123, "1700000000.123"), (1_000, "1"), (1_020, "1.02"), (7, "0.007")];
        for (millis, expected) in cases {
            assert_eq!(written(|w| w.timestamp(millis)), expected);
        }
    }

    proptest! {
        #[test]
        fn any_text_survives_the_round_trip(text in ".*") {
            let body = written(|w| { w.begin_map(); w.text_member("t", &text); w.end_map(); });
            let read = crate::wire::json::read(body.as_bytes()).unwrap();
            prop_assert_eq!(read.text("t"), Some(text.as_str()));
        }
    }
}
