//! Who calls, and what they may do. Called by the API's router before every operation; nothing
//! here knows what an operation does.

mod access_key;
mod caller;
mod origin;
mod roles;
mod sigv4;
mod token;

pub use access_key::{
    AuthenticationError, RawAccessKey, SignedCaller, authenticate_signed, new_access_key,
};
pub use caller::{Caller, authorize};
pub use origin::{AllowedHosts, check_origin};
pub use roles::{Permission, allows};
pub use sigv4::{Request as SignedRequest, SignatureError, Signer, sign};
pub(crate) use token::role_of;
pub use token::{RawToken, new_token};
