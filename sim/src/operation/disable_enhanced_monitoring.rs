//! `DisableEnhancedMonitoring`: switches shard-level metrics off.

use super::enable_enhanced_monitoring::{MEMBERS, switch};
use super::{Operation, Plane};

pub(crate) const OPERATION: Operation = Operation {
    name: "DisableEnhancedMonitoring",
    members: MEMBERS,
    plane: Plane::Control,
    run: |engine, call, input, out| switch(engine, call, input, out, |is_on, is_named| is_on && !is_named),
};
