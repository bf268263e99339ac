//! The nouns of Ark: ids, definitions, releases, deployments, routes, receipts.
