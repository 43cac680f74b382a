//! A client for each protocol, with limits of time, one TLS stack and the credentials it is given.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{BackoffConfig, ClientOptions, Error, ObjectStore, RetryConfig};

use super::address::{Address, Protocol};
use crate::error::StoreError;

/// How long one request may take, and how long to try to connect.
const ANSWER_MAX: Duration = Duration::from_secs(30);
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A client for a store; nothing is sent yet.
pub(super) fn client(
    address: &Address,
    variables: &[(String, String)],
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    // Whoever was first decides for the whole process.
    drop(rustls::crypto::ring::default_provider().install_default());
    let options = ClientOptions::new()
        .with_timeout(ANSWER_MAX)
        .with_connect_timeout(CONNECT_MAX)
        .with_allow_http(address.is_plain());
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: 3,
        retry_timeout: Duration::from_secs(10),
    };
    let named = variables
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value));
    let built: Result<Arc<dyn ObjectStore>, Error> = match address.protocol {
        Protocol::S3 => {
            let mut builder = AmazonS3Builder::new();
            for (name, value) in named {
                if let Ok(key) = name.parse::<AmazonS3ConfigKey>() {
                    builder = builder.with_config(key, value);
                }
            }
            if let Some(endpoint) = &address.endpoint {
                builder = builder.with_endpoint(endpoint);
            }
            if let Some(region) = &address.region {
                builder = builder.with_region(region);
            }
            let builder = builder
                .with_bucket_name(&address.bucket)
                .with_disable_bulk_delete(true)
                .with_client_options(options)
                .with_retry(retry);
            builder.build().map(|store| Arc::new(store) as _)
        }
        Protocol::Gcs => {
            let mut builder = GoogleCloudStorageBuilder::new();
            for (name, value) in named {
                if let Ok(key) = name.parse::<GoogleConfigKey>() {
                    builder = builder.with_config(key, value);
                }
            }
            if let Some(endpoint) = &address.endpoint {
                builder = builder.with_base_url(endpoint);
            }
            let builder = builder
                .with_bucket_name(&address.bucket)
                .with_client_options(options)
                .with_retry(retry);
            builder.build().map(|store| Arc::new(store) as _)
        }
    };
    // The cause may quote what a variable has in it.
    built.map_err(|_| {
        StoreError::Unfit(format!(
            "credentials for {address} cannot be read from the environment or its files"
        ))
    })
}
