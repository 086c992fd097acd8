//! Event streams as bytes: the frames of `application/vnd.amazon.eventstream`.
//!
//! ```text
//! total length u32 | headers length u32 | CRC32 of those 8 | headers | payload | CRC32 of all before
//! header: name length u8, name, 7 (a text), value length u16, value
//! ```

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;

use crate::error::ServiceError;
use crate::wire::writer::Writer;

/// The content type of an answer that is a stream of events.
pub(crate) const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// What every stream begins with. It must come at once: some clients' calls return with it, and one refuses
/// streams without it.
pub(crate) fn initial_response() -> Bytes {
    let headers = [
        (":message-type", "event"),
        (":event-type", "initial-response"),
        (":content-type", "application/x-amz-json-1.1"),
    ];
    frame(headers, Bytes::from_static(b"{}"))
}

/// One event; its payload is JSON whatever the request was.
pub(crate) fn event(kind: &'static str, payload: Vec<u8>) -> Bytes {
    let headers = [(":message-type", "event"), (":event-type", kind), (":content-type", "application/json")];
    frame(headers, payload.into())
}

/// The error that ends a stream.
pub(crate) fn exception(error: &ServiceError) -> Bytes {
    let headers = [
        (":message-type", "exception"),
        (":exception-type", error.code.name()),
        (":content-type", "application/json"),
    ];
    let mut payload = Writer::default();
    payload.begin_map();
    if let Some(text) = &error.text {
        payload.text_member(error.code.text_member(), text);
    }
    payload.end_map();
    frame(headers, payload.into_body().into())
}

fn frame(headers: [(&'static str, &'static str); 3], payload: Bytes) -> Bytes {
    // Lengths, checksums and headers take less than 200 bytes with the names above.
    let mut bytes = Vec::with_capacity(payload.len() + 200);
    let headers = headers.map(|(name, value)| Header::new(name, HeaderValue::String(value.into())));
    let message = Message::new_from_parts(headers.into(), payload);
    write_message_to(&message, &mut bytes).expect("a record of 10 MiB is far below the 4 GiB of a frame");
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;
    use aws_smithy_eventstream::frame::read_message_from;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    #[test]
    fn frames_are_the_bytes_computed_by_hand() {
        let in_use = ServiceError::new(ErrorCode::ResourceInUse, "taken \"over\"");
        let cases = [
            (initial_response(), INITIAL_RESPONSE),
            (event("SubscribeToShardEvent", br#"{"Records":[]}"#.to_vec()), EVENT),
            (event("SubscribeToShardEvent", Vec::new()), EMPTY_EVENT),
            (exception(&in_use), EXCEPTION),
            (exception(&ServiceError::bare(ErrorCode::InternalFailure)), BARE_EXCEPTION),
        ];
        for (frame, expected) in cases {
            assert_eq!(hex(&frame), expected.replace([' ', '\n'], ""));
        }
    }

    #[test]
    fn lengths_and_payload_of_a_large_event_are_read_back() {
        let payload = vec![b'x'; 3 << 20];
        let frame = event("SubscribeToShardEvent", payload.clone());
        assert_eq!(u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize, frame.len());
        let message = read_message_from(&mut frame.clone()).unwrap();
        assert_eq!(message.payload().as_ref(), payload);
        let names: Vec<_> = message.headers().iter().map(|header| header.name().as_str()).collect();
        assert_eq!(names, [":message-type", ":event-type", ":content-type"]);
    }

    const INITIAL_RESPONSE: &str = "
        0000007200000060ab820d9e0d3a6d6573736167652d747970650700056576656e740b3a6576656e742d747970650700
        10696e697469616c2d726573706f6e73650d3a636f6e74656e742d7479706507001a6170706c69636174696f6e2f782d
        616d7a2d6a736f6e2d312e317b7de16e66e4";

    const EVENT: &str = "
        000000790000005b6d59d5ab0d3a6d6573736167652d747970650700056576656e740b3a6576656e742d747970650700
        15537562736372696265546f53686172644576656e740d3a636f6e74656e742d747970650700106170706c6963617469
        6f6e2f6a736f6e7b225265636f726473223a5b5d7d735b5733";

    const EMPTY_EVENT: &str = "
        0000006b0000005b777911490d3a6d6573736167652d747970650700056576656e740b3a6576656e742d747970650700
        15537562736372696265546f53686172644576656e740d3a636f6e74656e742d747970650700106170706c6963617469
        6f6e2f6a736f6e4aa50b4e";

    const EXCEPTION: &str = "
        0000009000000064fefb5d380d3a6d6573736167652d74797065070009657863657074696f6e0f3a657863657074696f
        6e2d747970650700165265736f75726365496e557365457863657074696f6e0d3a636f6e74656e742d74797065070010
        6170706c69636174696f6e2f6a736f6e7b226d657373616765223a2274616b656e205c226f7665725c22227de05fd56d";

    const BARE_EXCEPTION: &str = "
        0000006f0000005d6b9a12bc0d3a6d6573736167652d74797065070009657863657074696f6e0f3a657863657074696f
        6e2d7479706507000f496e7465726e616c4661696c7572650d3a636f6e74656e742d747970650700106170706c696361
        74696f6e2f6a736f6e7b7d032cb340";
}
