//! Who calls: a signature in one of its two forms. Signatures are not verified; that all parts are there is.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, header};

use crate::error::{ErrorCode, ServiceError};
use crate::stream_table::Scope;

/// What a signed header must say, in the order in which the service misses it.
const HEADER_PARTS: [&str; 3] = ["Credential", "Signature", "SignedHeaders"];

const ALGORITHM: &str = "X-Amz-Algorithm";
const CREDENTIAL: &str = "X-Amz-Credential";

/// What a signed query must say, in the order in which the service misses it.
const QUERY_PARTS: [&str; 5] =
    [ALGORITHM, CREDENTIAL, "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"];

/// Longer names of callers are cut: they are kept in the trace and by rules.
const MOST_CALLER_CHARS: usize = 128;

/// `<access key id>/<date>/<region>/kinesis/aws4_request`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credential(String);

impl Credential {
    /// Finds the credential of a request in its `Authorization` header or its query.
    pub(super) fn find(headers: &HeaderMap, query: Option<&str>) -> Result<Self, ServiceError> {
        let header =
            headers.get(header::AUTHORIZATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let header = header.filter(|header| !header.is_empty());
        let query = query.unwrap_or_default();
        match (header, query_value(query, ALGORITHM).is_some()) {
            (Some(_), true) => Err(ServiceError::new(
                ErrorCode::InvalidSignature,
                "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.",
            )),
            (None, false) => {
                let code = ErrorCode::MissingAuthenticationToken;
                Err(ServiceError::new(code, "Missing Authentication Token"))
            }
            (Some(header), false) => Self::of_header(&header, headers),
            (None, true) => Self::of_query(query),
        }
    }

    fn of_header(header: &str, headers: &HeaderMap) -> Result<Self, ServiceError> {
        let mut missing: String = HEADER_PARTS
            .into_iter()
            .filter(|part| header_value(header, part).is_none())
            .map(|part| ["Authorization header requires '", part, "' parameter. "].concat())
            .collect();
        if !headers.contains_key("x-amz-date") && !headers.contains_key(header::DATE) {
            missing +=
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ";
        }
        match header_value(header, "Credential") {
            Some(credential) if missing.is_empty() => Ok(Self(percent_decoded(credential).into_owned())),
            _ => Err(incomplete(missing + "Authorization=" + header)),
        }
    }

    fn of_query(query: &str) -> Result<Self, ServiceError> {
        let missing: String = QUERY_PARTS
            .into_iter()
            .filter(|part| query_value(query, part).is_none_or(str::is_empty))
            .map(|part| ["AWS query-string parameters must include '", part, "'. "].concat())
            .collect();
        if !missing.is_empty() {
            return Err(incomplete(missing + "Re-examine the query-string parameters."));
        }
        let credential = query_value(query, CREDENTIAL).unwrap_or_default();
        Ok(Self(percent_decoded(credential).into_owned()))
    }

    fn key_id(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// The access key id, as the caller's name.
    pub(super) fn caller(&self) -> Arc<str> {
        let key_id = self.key_id();
        key_id
            .char_indices()
            .nth(MOST_CALLER_CHARS)
            .and_then(|(end, _)| key_id.get(..end))
            .unwrap_or(key_id)
            .into()
    }

    /// Account and region.
    pub(super) fn scope(&self) -> Scope {
        let mut scope = Scope::default();
        // The convention of local emulators: a key id of twelve digits is the account.
        let key_id = self.key_id();
        if key_id.len() == 12 && key_id.bytes().all(|byte| byte.is_ascii_digit()) {
            scope.account = key_id.into();
        }
        if let Some(region) = self.0.split('/').nth(2).filter(|region| !region.is_empty()) {
            scope.region = region.into();
        }
        scope
    }
}

fn incomplete(text: String) -> ServiceError {
    ServiceError::new(ErrorCode::IncompleteSignature, text)
}

/// `Name=value` among the parts after the algorithm; empty values count as absent.
fn header_value<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let parts = header.split([' ', ',']).skip(1);
    let value = parts.filter_map(|part| part.split_once('=')).find(|(key, _)| *key == name)?.1;
    (!value.is_empty()).then_some(value)
}

fn query_value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// Without percent signs, as far as they make sense.
pub(crate) fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let byte = tail.first_chunk::<2>().filter(|_| *first == b'%').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok()
        });
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(
        authorization: Option<&str>,
        date: bool,
        query: Option<&str>,
    ) -> Result<Credential, (ErrorCode, String)> {
        let mut headers = HeaderMap::new();
        if let Some(text) = authorization {
            headers.insert(header::AUTHORIZATION, text.parse().unwrap());
        }
        if date {
            headers.insert("date", "a".parse().unwrap());
        }
        Credential::find(&headers, query).map_err(|error| (error.code, error.text.unwrap_or_default()))
    }

    #[test]
    fn each_missing_part_of_a_header_is_listed_and_the_header_echoed() {
        let all = "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' \
                   parameter. Authorization header requires 'SignedHeaders' parameter. Authorization header requires \
                   existence of either a 'X-Amz-Date' or a 'Date' header. Authorization=X";
        assert_eq!(find(Some("X"), false, None), Err((ErrorCode::IncompleteSignature, all.to_owned())));
        for header in [
            "AWS4- Signature=b Credential=a",
            "AWS4- Signature=b,Credential=a",
            "AWS4- Signature=b, Credential=a",
        ] {
            let text =
                format!("Authorization header requires 'SignedHeaders' parameter. Authorization={header}");
            assert_eq!(find(Some(header), true, None), Err((ErrorCode::IncompleteSignature, text)));
        }
        let empty = find(Some("AWS4- Signature=,Credential=a,SignedHeaders=c"), true, None).unwrap_err().1;
        assert!(empty.starts_with("Authorization header requires 'Signature' parameter. "), "{empty}");
    }

    #[test]
    fn each_missing_part_of_a_query_is_listed() {
        let all = "AWS query-string parameters must include 'X-Amz-Algorithm'. AWS query-string parameters must include \
                   'X-Amz-Credential'. AWS query-string parameters must include 'X-Amz-Signature'. AWS query-string \
                   parameters must include 'X-Amz-SignedHeaders'. AWS query-string parameters must include 'X-Amz-Date'. \
                   Re-examine the query-string parameters.";
        assert_eq!(
            find(None, false, Some("X-Amz-Algorithm")),
            Err((ErrorCode::IncompleteSignature, all.to_owned()))
        );
        let one = "X-Amz-Algorithm=a&X-Amz-Credential=b&X-Amz-Signature=c&X-Amz-Date=d";
        let text = "AWS query-string parameters must include 'X-Amz-SignedHeaders'. Re-examine the query-string parameters.";
        assert_eq!(find(None, false, Some(one)), Err((ErrorCode::IncompleteSignature, text.to_owned())));
    }

    #[test]
    fn both_forms_and_neither_are_refused() {
        assert_eq!(
            find(Some("X"), true, Some("X-Amz-Algorithm")).unwrap_err().0,
            ErrorCode::InvalidSignature
        );
        for query in [None, Some(""), Some("X-Amz-Credential=a&X-Amz-Signature=b"), Some("X-Amz-Algorith")] {
            assert_eq!(
                find(None, true, query),
                Err((ErrorCode::MissingAuthenticationToken, "Missing Authentication Token".to_owned()))
            );
        }
    }

    #[test]
    fn account_region_and_caller_are_read_from_either_form() {
        let header = "AWS4-HMAC-SHA256 Credential=123456789012/20260101/eu-west-1/kinesis/aws4_request, \
                      SignedHeaders=host, Signature=0a";
        let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=123456789012%2F20260101%2Feu-west-1%2Fkinesis%2Faws4_request\
                     &X-Amz-Signature=0a&X-Amz-SignedHeaders=host&X-Amz-Date=20260101T000000Z";
        for credential in [find(Some(header), true, None).unwrap(), find(None, false, Some(query)).unwrap()] {
            let Scope { account, region } = credential.scope();
            assert_eq!((&*account, &*region), ("123456789012", "eu-west-1"));
            assert_eq!(&*credential.caller(), "123456789012");
        }
        let Scope { account, region } = Credential("worker-a".to_owned()).scope();
        assert_eq!((&*account, &*region), ("000000000000", "us-east-1"));
        assert_eq!(&*Credential("worker-a/b/c".to_owned()).caller(), "worker-a");
    }

    #[test]
    fn names_of_callers_are_bounded() {
        let caller = Credential("\u{e9}".repeat(100_000)).caller();
        assert_eq!(caller.chars().count(), MOST_CALLER_CHARS);
    }

    #[test]
    fn percent_signs_are_decoded_where_they_make_sense() {
        for (text, expected) in [
            ("a%2Fb", "a/b"),
            ("%", "%"),
            ("%zz%2", "%zz%2"),
            ("%41%", "A%"),
            ("%C3%A9", "\u{e9}"),
            ("plain", "plain"),
        ] {
            assert_eq!(percent_decoded(text), expected);
        }
    }
}
