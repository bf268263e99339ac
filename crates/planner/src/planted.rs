//! Bugs planted on purpose, so that the simulator can show that it finds them. Nothing but its tests
//! ever sets one.

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// An instance is stopped before the gateway acknowledged that it drains.
    StopBeforeAcknowledgement,
    /// The share of the new side is raised before its instances serve.
    PromoteWithoutHealth,
    /// A newer deployment leaves the instances of an abandoned canary where they are.
    ForgetTheAbandonedCanary,
    /// A call of the engine is waited for without a deadline.
    WaitForTheEngine,
    /// A plan is recorded although what it was made from has changed meanwhile.
    WriteOverWhatChanged,
    /// An instance is started by the newest release there is, and not by its own.
    StartTheNewest,
}
