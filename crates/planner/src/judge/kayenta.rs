//! Netflix's automated canary judge (`NetflixACAJudge-v1.0` of Spinnaker's Kayenta), rebuilt from
//! its published description, so that a judgement known from there can be had here. It reads series
//! of one value per minute, say, where Ark's own verdict ([`super::verdict`]) reads single requests.
//!
//! ```text
//! judge         a configuration and series in, classified metrics and a score out
//!  transform    what becomes of missing values and outliers
//!  outliers     interquartile range, k-sigma
//!  classify     one metric: Pass, High, Low, Nodata
//!   mann_whitney  the U test, its interval and its estimate (R's wilcox.test, asymptotic)
//!   effect        how large a difference is
//!  score        groups, weights, thresholds
//!  descriptive  means and percentiles
//! ```

pub mod classify;
pub mod descriptive;
pub mod effect;
pub mod judge;
pub mod mann_whitney;
pub mod outliers;
mod root;
pub mod score;
pub mod transform;
