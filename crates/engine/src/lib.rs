//! What runs instances: the engine trait, the process engine with its shim, a fake.
