# The bucket that CMH_STORE names, and what readers, writers and gc may do in it.
#   terraform -chdir=infra/terraform init
#   terraform -chdir=infra/terraform apply -var bucket=our-cmh-store
# Cost: storage and requests of S3; nothing runs.

terraform {
  required_version = ">= 1.6"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
}

resource "aws_s3_bucket" "store" {
  bucket = var.bucket
  tags   = var.tags
}

resource "aws_s3_bucket_public_access_block" "store" {
  bucket                  = aws_s3_bucket.store.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "store" {
  bucket = aws_s3_bucket.store.id
  rule {
    apply_server_side_encryption_by_default { sse_algorithm = "AES256" }
  }
}

# An artifact that was removed by mistake can be had back for a while.
resource "aws_s3_bucket_versioning" "store" {
  bucket = aws_s3_bucket.store.id
  versioning_configuration { status = "Enabled" }
}

resource "aws_s3_bucket_lifecycle_configuration" "store" {
  bucket     = aws_s3_bucket.store.id
  depends_on = [aws_s3_bucket_versioning.store]

  # Finished artifacts have no age: `cmh gc --keep-last` knows which are needed, and S3 does not.
  rule {
    id     = "what-was-removed"
    status = "Enabled"
    filter {}
    noncurrent_version_expiration { noncurrent_days = var.days_to_undo }
    expiration { expired_object_delete_marker = true }
    abort_incomplete_multipart_upload { days_after_initiation = 7 }
  }
}

resource "aws_s3_bucket_policy" "store" {
  bucket     = aws_s3_bucket.store.id
  policy     = templatefile("${path.module}/policies/bucket.json", local.names)
  depends_on = [aws_s3_bucket_public_access_block.store]
}

resource "aws_iam_policy" "role" {
  for_each    = toset(["reader", "writer", "gc"])
  name        = "${var.bucket}-${each.key}"
  description = "cmh: ${each.key} of the artifacts in ${var.bucket}"
  policy      = templatefile("${path.module}/policies/${each.key}.json", local.names)
  tags        = var.tags
}

locals {
  names = { bucket = aws_s3_bucket.store.arn, prefix = var.prefix }
}
