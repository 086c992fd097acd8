//! Counts and rates that the engine enforces while limits are on.

use super::{Decoded, Engine, Request, named_stream};
use crate::error::{ErrorCode, ServiceError};
use crate::operation::Plane;
use crate::quota::{Limits, ServiceLimits};
use crate::stream_table::{Address, Scope};

impl Engine {
    /// The limits, if they are enforced.
    pub(crate) fn limits_in_force(&self) -> Option<&ServiceLimits> {
        self.is_limited().then_some(&self.settings.service_limits)
    }

    /// Whether limits are enforced.
    pub(crate) fn is_limited(&self) -> bool {
        self.settings.limits == Limits::Aws
    }

    pub(crate) fn check_shard_limit(
        &self,
        scope: &Scope,
        current: usize,
        additional: usize,
    ) -> Result<(), ServiceError> {
        let limit = self.settings.service_limits.open_shards;
        if !self.is_limited() || current + additional <= limit {
            return Ok(());
        }
        let Scope { account, region } = scope;
        Err(ServiceError::new(
            ErrorCode::LimitExceeded,
            format!(
                "This request would exceed the shard limit for the account {account} in {region}. Current shard \
                 count for the account: {current}. Limit: {limit}. Number of additional shards that would have \
                 resulted from this request: {additional}. Refer to the AWS Service Limits page \
                 (http://docs.aws.amazon.com/general/latest/gr/aws_service_limits.html) for current limits and how \
                 to request higher limits."
            ),
        ))
    }

    /// The refusal of a call of the control plane that comes too soon after others.
    pub(super) fn rate_exceeded(
        &mut self,
        now: u64,
        request: &Request,
        decoded: &Decoded<'_>,
    ) -> Option<ServiceError> {
        if decoded.operation.plane != Plane::Control || !self.is_limited() {
            return None;
        }
        let name = named_stream(&request.scope, &decoded.input).unwrap_or_default();
        let address = Address { scope: request.scope.clone(), name };
        let limits = &self.settings.service_limits;
        let admitted = self.call_rates.admits(now, decoded.operation.name, limits, &address);
        (!admitted).then(|| ServiceError::control_rate(address.named()))
    }
}
