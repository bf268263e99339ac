# What tests/workflows/terraform.rs applies: workflows by AWS's provider, unchanged but for the endpoint.

terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0"
    }
  }
}

variable "endpoint" {
  type = string
}

# What the workflow answers: another makes another version.
variable "greeting" {
  type = string
}

# Keys come by environment. Whose they are is asked of Ark, as it would be of AWS.
provider "aws" {
  region      = "eu-west-1"
  max_retries = 1

  endpoints {
    sfn = var.endpoint
    sts = var.endpoint
  }

  default_tags {
    tags = { made_by = "terraform" }
  }
}

resource "aws_sfn_activity" "work" {
  name = "terraform--work"
  tags = { kind = "activity" }
}

resource "aws_sfn_state_machine" "greets" {
  name     = "greets"
  role_arn = "arn:aws:iam::000000000000:role/any"
  publish  = true
  tags     = { kind = "machine" }

  definition = jsonencode({
    StartAt = "Which"
    States = {
      Which = {
        Type    = "Choice"
        Choices = [{ Variable = "$.work", IsPresent = true, Next = "Work" }]
        Default = "Greet"
      }
      Greet = { Type = "Pass", Result = var.greeting, End = true }
      Work  = { Type = "Task", Resource = aws_sfn_activity.work.id, End = true }
    }
  })
}

resource "aws_sfn_alias" "live" {
  name        = "live"
  description = "what callers start"

  routing_configuration {
    state_machine_version_arn = aws_sfn_state_machine.greets.state_machine_version_arn
    weight                    = 100
  }
}

# All that can be said of a machine and does nothing here is kept and shown all the same.
resource "aws_sfn_state_machine" "watched" {
  name     = "watched"
  role_arn = "arn:aws:iam::000000000000:role/any"
  type     = "EXPRESS"

  definition = jsonencode({
    StartAt = "Done"
    States  = { Done = { Type = "Succeed" } }
  })

  logging_configuration {
    level                  = "ERROR"
    include_execution_data = true
    log_destination        = "arn:aws:logs:eu-west-1:000000000000:log-group:watched:*"
  }

  tracing_configuration {
    enabled = true
  }
}

output "alias" {
  value = aws_sfn_alias.live.arn
}
