//! Who calls, and what they may do. Called by the API's router before every operation; nothing
//! here knows what an operation does.

mod access_key;
mod caller;
mod origin;
mod push_signature;
mod roles;
mod session;
mod sigv4;
mod token;

pub use access_key::{
    AuthenticationError, RawAccessKey, SignedCaller, authenticate_signed, new_access_key,
};
pub use caller::{Caller, authorize};
pub use origin::{AllowedHosts, CONSOLE_HOST, check_host, check_origin};
pub use push_signature::is_from_sender;
pub(crate) use push_signature::names_sender;
pub use roles::{Permission, allows};
pub use session::{Proof, begin_session, end_session, new_link, session_caller};
pub use sigv4::{Request as SignedRequest, SignatureError, Signer, sign};
pub(crate) use token::role_of;
pub use token::{RawToken, new_token};
