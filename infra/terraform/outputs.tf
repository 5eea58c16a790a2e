output "store" {
  description = "The value of CMH_STORE."
  value       = "s3://${aws_s3_bucket.store.id}/${var.prefix}"
}

output "policies" {
  description = "Policies to attach to roles: reader (the search service), writer (workers), gc."
  value       = { for role, policy in aws_iam_policy.role : role => policy.arn }
}
