//! Who calls, and what they may do. Called by the API's router before every operation; nothing
//! here knows what an operation does.

mod caller;
mod origin;
mod roles;
mod token;

pub use caller::{Caller, authorize};
pub use origin::{AllowedHosts, check_origin};
pub use roles::{Permission, allows};
pub(crate) use token::role_of;
pub use token::{RawToken, new_token};
