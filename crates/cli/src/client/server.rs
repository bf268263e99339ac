//! Operations on the server itself: what it is, its hosts, registries, push hooks, tokens and builds.

use std::time::Duration;

use ark_model::NodeName;
use ark_model::address::segment;
use ark_model::api::{
    BuildEvent, BuildRequest, ConsoleLink, DoctorReport, GatewayView, GcReport, ImagesFind,
    ImagesFound, NodeDraining, NodePut, NodeView, PushHookPut, PushHookView, PushView, RegistryPut,
    RegistryView, ServerInfo, ShutdownRequest, TokenCreate, TokenCreated, TokenView,
};
use reqwest::Method;

use super::endpoints::NONE;
use super::{Client, REQUEST_TIMEOUT};
use crate::failure::Failure;

/// How long collecting garbage may take.
const GC_TIMEOUT: Duration = Duration::from_secs(600);

/// How long a build may say nothing; the server gives up before.
const BUILD_SILENCE: Duration = Duration::from_secs(35 * 60);
/// The longest line of a build's answer, in bytes.
const BUILD_LINE_BYTES_MAX: usize = 1 << 20;

fn build_lost(why: &str) -> Failure {
    let headline = format!("the build is not known to have ended: {why}");
    Failure::new(ark_model::exit::ExitCode::Failed, "build", headline)
        .remedy("an image that was built is found", "run the command again")
}

impl Client {
    /// What the server is.
    pub(crate) async fn server_info(&self) -> Result<ServerInfo, Failure> {
        self.get("/v1/server", &NONE).await
    }

    /// Ends the server.
    pub(crate) async fn shutdown(&self, request: ShutdownRequest) -> Result<(), Failure> {
        self.send(|| {
            self.request(Method::POST, "/v1/shutdown").timeout(REQUEST_TIMEOUT).json(&request)
        })
        .await
        .map(|_| ())
    }

    /// What the server says of its own health.
    pub(crate) async fn doctor(&self) -> Result<DoctorReport, Failure> {
        self.get("/v1/doctor", &NONE).await
    }

    /// Replaces the gateway's process.
    pub(crate) async fn restart_gateway(&self) -> Result<GatewayView, Failure> {
        self.json_within(GC_TIMEOUT, || self.request(Method::POST, "/v1/gateway/restart")).await
    }

    /// Removes what nothing needs any more.
    pub(crate) async fn gc(&self) -> Result<GcReport, Failure> {
        self.json_within(GC_TIMEOUT, || self.request(Method::POST, "/v1/gc")).await
    }

    /// Which of these images the server's engine has.
    pub(crate) async fn find_images(&self, images: Vec<String>) -> Result<ImagesFound, Failure> {
        self.post("/v1/images/find", &ImagesFind { images, keep: false }).await
    }

    /// Whether the server's engine has an image, which is then left alone by `ark gc` for a while.
    pub(crate) async fn keep_image(&self, image: &str) -> Result<bool, Failure> {
        let wanted = ImagesFind { images: vec![image.to_owned()], keep: true };
        let found: ImagesFound = self.post("/v1/images/find", &wanted).await?;
        Ok(found.present.contains_key(image))
    }

    /// Registries of images.
    pub(crate) async fn registries(&self) -> Result<Vec<RegistryView>, Failure> {
        self.all("/v1/registries", &NONE).await
    }

    /// Uses a registry.
    pub(crate) async fn set_registry(
        &self,
        host: &str,
        put: &RegistryPut,
    ) -> Result<RegistryView, Failure> {
        let path = format!("/v1/registries/{}", segment(host));
        self.json(|| self.request(Method::PUT, &path).json(put)).await
    }

    /// Forgets a registry.
    pub(crate) async fn remove_registry(&self, host: &str) -> Result<(), Failure> {
        self.delete(&format!("/v1/registries/{}", segment(host))).await
    }

    /// The hosts of the cluster.
    pub(crate) async fn nodes(&self) -> Result<Vec<NodeView>, Failure> {
        self.all("/v1/nodes", &NONE).await
    }

    /// Adds a host, or changes it.
    pub(crate) async fn put_node(
        &self,
        name: &NodeName,
        put: &NodePut,
    ) -> Result<NodeView, Failure> {
        let path = format!("/v1/nodes/{name}");
        self.json(|| self.request(Method::PUT, &path).json(put)).await
    }

    /// Says whether a host is to be empty.
    pub(crate) async fn drain_node(
        &self,
        name: &NodeName,
        draining: bool,
    ) -> Result<NodeView, Failure> {
        let path = format!("/v1/nodes/{name}/draining");
        self.json(|| self.request(Method::PUT, &path).json(&NodeDraining { draining })).await
    }

    /// Forgets a host.
    pub(crate) async fn remove_node(&self, name: &NodeName, force: bool) -> Result<(), Failure> {
        self.delete(&format!("/v1/nodes/{name}?force={force}")).await
    }

    /// Push hooks.
    pub(crate) async fn push_hooks(&self) -> Result<Vec<PushHookView>, Failure> {
        self.all("/v1/push-hooks", &NONE).await
    }

    /// What a push hook was told.
    pub(crate) async fn pushes(&self, hook: &str) -> Result<Vec<PushView>, Failure> {
        self.all(&format!("/v1/push-hooks/{}/pushes", segment(hook)), &NONE).await
    }

    /// Makes or changes a push hook.
    pub(crate) async fn set_push_hook(
        &self,
        name: &str,
        put: &PushHookPut,
    ) -> Result<PushHookView, Failure> {
        let path = format!("/v1/push-hooks/{}", segment(name));
        self.json(|| self.request(Method::PUT, &path).json(put)).await
    }

    /// Removes a push hook.
    pub(crate) async fn remove_push_hook(&self, name: &str) -> Result<(), Failure> {
        self.delete(&format!("/v1/push-hooks/{}", segment(name))).await
    }

    /// Builds an image; `said` hears of each line. Answers the image's digest, or the builder's
    /// reason.
    pub(crate) async fn build(
        &self,
        request: &BuildRequest,
        mut said: impl FnMut(&str),
    ) -> Result<Result<String, String>, Failure> {
        let sending = self.send_once(self.request(Method::POST, "/v1/builds").json(request));
        let mut response = sending.await?;
        let mut rest = Vec::new();
        loop {
            let chunk = tokio::time::timeout(BUILD_SILENCE, response.chunk()).await;
            let chunk = chunk.map_err(|_| build_lost("nothing was heard of it for too long"))?;
            let Some(chunk) = chunk.map_err(|error| self.unreachable(&error))? else {
                return Err(build_lost("the server ended in the middle of it"));
            };
            rest.extend_from_slice(&chunk);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                match serde_json::from_slice(&line) {
                    Ok(BuildEvent::Log { text }) => said(&text),
                    Ok(BuildEvent::Built { digest, .. }) => return Ok(Ok(digest)),
                    Ok(BuildEvent::Failed { reason }) => return Ok(Err(reason)),
                    Err(error) => return Err(build_lost(&error.to_string())),
                }
            }
            if rest.len() > BUILD_LINE_BYTES_MAX {
                return Err(build_lost("a line of it is too long"));
            }
        }
    }

    /// All tokens.
    pub(crate) async fn tokens(&self) -> Result<Vec<TokenView>, Failure> {
        self.all("/v1/tokens", &NONE).await
    }

    /// Makes a token.
    pub(crate) async fn create_token(
        &self,
        request: &TokenCreate,
    ) -> Result<TokenCreated, Failure> {
        self.post("/v1/tokens", request).await
    }

    /// Makes a link that signs a browser in to the console.
    pub(crate) async fn create_console_link(&self) -> Result<ConsoleLink, Failure> {
        self.act("/v1/console/links").await
    }

    /// Ends a token.
    pub(crate) async fn revoke_token(&self, id: &str) -> Result<(), Failure> {
        self.delete(&format!("/v1/tokens/{}", segment(id))).await
    }
}
