//! The control plane: API, controllers, authentication.
