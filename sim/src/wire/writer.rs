//! Answers as JSON or CBOR, written straight into the body: payloads are encoded from the log without a copy
//! between.

use std::fmt::Display;
use std::io::Write;
use std::ops::Range;

use super::Encoding;

/// Writes one answer. An operation that writes nothing answers an empty body, as the service does.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    body: Vec<u8>,
    /// Whether the next key or list item comes after another (JSON).
    follows: bool,
    encoding: Encoding,
    /// The last time, and where it stands: records come in bursts, many within a millisecond.
    last_time: Option<(u64, Range<usize>)>,
}

impl Writer {
    pub(crate) fn new(encoding: Encoding) -> Self {
        Self { encoding, ..Self::default() }
    }

    pub(crate) fn into_body(self) -> Vec<u8> {
        self.body
    }

    pub(crate) fn reserve(&mut self, additional: usize) {
        self.body.reserve(additional);
    }

    // Maps and lists of CBOR are open-ended, as the service's own: their lengths need not be known.

    pub(crate) fn begin_map(&mut self) {
        self.open(b'{', 0xBF);
    }

    pub(crate) fn end_map(&mut self) {
        self.close(b'}');
    }

    pub(crate) fn begin_list(&mut self) {
        self.open(b'[', 0x9F);
    }

    pub(crate) fn end_list(&mut self) {
        self.close(b']');
    }

    /// The name of the next member: one of ours, so it needs no escapes.
    pub(crate) fn key(&mut self, name: &str) {
        match self.encoding {
            Encoding::Json => {
                self.body.reserve(name.len() + 4);
                self.body.extend_from_slice(if self.follows { b",\"" } else { b"\"" });
                self.body.extend_from_slice(name.as_bytes());
                self.body.extend_from_slice(b"\":");
                self.follows = false;
            }
            Encoding::Cbor => self.cbor_bytes(TEXT, name.as_bytes()),
        }
    }

    pub(crate) fn text(&mut self, text: &str) {
        match self.encoding {
            Encoding::Json => {
                self.begin_item();
                self.body.push(b'"');
                write_escaped(&mut self.body, text);
                self.body.push(b'"');
            }
            Encoding::Cbor => self.cbor_bytes(TEXT, text.as_bytes()),
        }
    }

    /// Text of ours that needs no escapes: the many numbers and ids.
    pub(crate) fn ascii(&mut self, text: &str) {
        match self.encoding {
            Encoding::Json => {
                self.body.reserve(text.len() + 3);
                self.begin_item();
                self.body.push(b'"');
                self.body.extend_from_slice(text.as_bytes());
                self.body.push(b'"');
            }
            Encoding::Cbor => self.cbor_bytes(TEXT, text.as_bytes()),
        }
    }

    /// As [`ascii`](Self::ascii), for what prints itself.
    pub(crate) fn plain(&mut self, text: impl Display) {
        match self.encoding {
            Encoding::Json => {
                self.begin_item();
                self.body.push(b'"');
                self.print(&text);
                self.body.push(b'"');
            }
            Encoding::Cbor => {
                let start = self.body.len();
                self.print(&text);
                let end = self.body.len();
                // Its length is known only now: the head moves in front of it.
                self.cbor_head(TEXT, (end - start) as u64);
                if let Some(tail) = self.body.get_mut(start..) {
                    tail.rotate_left(end - start);
                }
            }
        }
    }

    pub(crate) fn integer(&mut self, value: u64) {
        match self.encoding {
            Encoding::Json => {
                self.begin_item();
                self.digits(value);
            }
            Encoding::Cbor => self.cbor_head(INTEGER, value),
        }
    }

    pub(crate) fn boolean(&mut self, value: bool) {
        match self.encoding {
            Encoding::Json => {
                self.begin_item();
                self.body.extend_from_slice(if value { b"true" } else { b"false" });
            }
            Encoding::Cbor => self.body.push(if value { 0xF5 } else { 0xF4 }),
        }
    }

    /// Whole milliseconds. In JSON decimal seconds: never through binary floating point, which would show users a
    /// millisecond less. In CBOR tag 1 and an integer, which departs from the standard and is what clients read.
    pub(crate) fn timestamp(&mut self, millis: u64) {
        if self.encoding == Encoding::Json {
            self.begin_item();
        }
        let start = self.body.len();
        match &self.last_time {
            Some((last, place)) if *last == millis => self.body.extend_from_within(place.clone()),
            _ => self.new_timestamp(millis),
        }
        self.last_time = Some((millis, start..self.body.len()));
    }

    fn new_timestamp(&mut self, millis: u64) {
        match self.encoding {
            Encoding::Json => {
                self.digits(millis / 1000);
                let rest = millis % 1000;
                if rest > 0 {
                    let digit = |value: u64| b'0' + u8::try_from(value % 10).unwrap_or(0);
                    let decimals = [b'.', digit(rest / 100), digit(rest / 10), digit(rest)];
                    let length = match (rest.is_multiple_of(100), rest.is_multiple_of(10)) {
                        (true, _) => 2,
                        (false, true) => 3,
                        (false, false) => 4,
                    };
                    self.body.extend(decimals.into_iter().take(length));
                }
            }
            Encoding::Cbor => {
                self.body.push(0xC1);
                self.cbor_head(INTEGER, millis);
            }
        }
    }

    pub(crate) fn blob(&mut self, bytes: &[u8]) {
        match self.encoding {
            Encoding::Json => {
                self.begin_item();
                self.body.push(b'"');
                base64_simd::STANDARD.encode_append(bytes, &mut self.body);
                self.body.push(b'"');
            }
            Encoding::Cbor => self.cbor_bytes(BLOB, bytes),
        }
    }

    pub(crate) fn text_member(&mut self, name: &str, text: &str) {
        self.key(name);
        self.text(text);
    }

    pub(crate) fn plain_member(&mut self, name: &str, text: impl Display) {
        self.key(name);
        self.plain(text);
    }

    pub(crate) fn ascii_member(&mut self, name: &str, text: &str) {
        self.key(name);
        self.ascii(text);
    }

    pub(crate) fn integer_member(&mut self, name: &str, value: u64) {
        self.key(name);
        self.integer(value);
    }

    pub(crate) fn boolean_member(&mut self, name: &str, value: bool) {
        self.key(name);
        self.boolean(value);
    }

    fn open(&mut self, bracket: u8, cbor: u8) {
        match self.encoding {
            Encoding::Json => {
                self.separate();
                self.body.push(bracket);
                self.follows = false;
            }
            Encoding::Cbor => self.body.push(cbor),
        }
    }

    fn close(&mut self, bracket: u8) {
        match self.encoding {
            Encoding::Json => {
                self.body.push(bracket);
                self.follows = true;
            }
            Encoding::Cbor => self.body.push(0xFF),
        }
    }

    fn begin_item(&mut self) {
        self.separate();
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

    fn digits(&mut self, value: u64) {
        let mut digits = [0; 20];
        let (mut at, mut rest) = (digits.len(), value);
        while at > 0 {
            at -= 1;
            if let (Some(place), Ok(digit)) = (digits.get_mut(at), u8::try_from(rest % 10)) {
                *place = b'0' + digit;
            }
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.body.extend_from_slice(digits.get(at..).unwrap_or_default());
    }

    fn cbor_bytes(&mut self, major: u8, bytes: &[u8]) {
        self.cbor_head(major, bytes.len() as u64);
        self.body.extend_from_slice(bytes);
    }

    /// The shortest head of this major type and argument.
    fn cbor_head(&mut self, major: u8, argument: u64) {
        // How many bytes the argument takes, and what the head's low bits say of it; small ones stand there themselves.
        let (width, info) = match argument {
            0..24 => (0, argument.to_le_bytes()[0]),
            24..0x100 => (1, 24),
            0x100..0x1_0000 => (2, 25),
            0x1_0000..0x1_0000_0000 => (4, 26),
            _ => (8, 27),
        };
        self.body.push((major << 5) + info);
        self.body.extend(argument.to_be_bytes().into_iter().skip(8 - width));
    }
}

const INTEGER: u8 = 0;
const BLOB: u8 = 2;
const TEXT: u8 = 3;

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

    #[test]
    fn cbor_is_open_ended_with_the_shortest_heads() {
        let mut w = Writer::new(Encoding::Cbor);
        w.begin_map();
        w.plain_member("A", 7);
        w.integer_member("B", 500);
        w.key("C");
        w.begin_list();
        w.boolean(true);
        w.blob(b"\0\xFF");
        w.timestamp(1_700_000_000_123);
        w.end_list();
        w.end_map();
        let expected = b"\xBF\x61A\x617\x61B\x19\x01\xF4\x61C\x9F\xF5\x42\0\xFF\xC1\x1B\0\0\x01\x8B\xCF\xE5\x68\x7B\xFF\xFF";
        assert_eq!(w.into_body(), expected);
    }

    #[test]
    fn integers_print_all_their_digits() {
        for value in [0, 9, 10, 12_345, u64::MAX] {
            assert_eq!(written(|w| w.integer(value)), value.to_string());
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
