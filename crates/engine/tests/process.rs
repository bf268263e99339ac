//! The conformance suite over the process engine, once for each way it can hold an instance: the
//! control groups it finds by itself, those of version 1 alone, and none.

mod conformance;
mod process_fixture;

use ark_engine::CgroupUse;
use process_fixture::ProcessFixture;

macro_rules! whole_suite {
    ($name:ident, $cgroups:expr, $limits:ident) => {
        mod $name {
            use super::*;

            whole_suite!($cgroups, every);
            whole_suite!($cgroups, on_the_host);
            whole_suite!($cgroups, programs);
            whole_suite!($cgroups, processes);
            whole_suite!($cgroups, $limits);
        }
    };
    ($cgroups:expr, $group:ident) => {
        conformance::suite! { $group, _name => ProcessFixture::new($cgroups); }
    };
}

whole_suite!(with_the_groups_it_finds, CgroupUse::Auto, limits);
whole_suite!(with_groups_of_version_1, CgroupUse::Version1Only, limits);
whole_suite!(without_groups, CgroupUse::Never, no_limits);
