variable "bucket" {
  description = "Name of the bucket; CMH_STORE becomes s3://BUCKET/PREFIX."
  type        = string
}

variable "prefix" {
  description = "Folder of the store in the bucket."
  type        = string
  default     = "store"
  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]*$", var.prefix))
    error_message = "One folder: letters, digits, dots, dashes."
  }
}

variable "days_to_undo" {
  description = "Days for which what was removed or replaced can be had back."
  type        = number
  default     = 30
}

variable "tags" {
  description = "Tags of everything that is made."
  type        = map(string)
  default     = {}
}
