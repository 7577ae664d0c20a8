//! The small operations, and the C calls that they stand for: for criterion, and for the report.

pub mod fds;
pub mod job;
pub mod libssl;
pub mod wake;
