/**
 * The errors a user can meet. Every message says who speaks, what was expected, what came, and what to do.
 * All derive from {@link UserError}: the CLI prints the message without a stack and exits with code 2.
 */

/** An error whose message is meant for the user; anything else that is thrown is a bug. */
export class UserError extends Error {
  override name = "UserError";
}

/** Tensor shapes or dtypes that do not fit an operation. */
export class ShapeError extends UserError {
  override name = "ShapeError";
}

/** A kernel that cannot be built or called: unknown entry point, missing binding, WGSL that does not compile. */
export class KernelError extends UserError {
  override name = "KernelError";
}

/** A setting that is out of range or contradicts another. */
export class ConfigError extends UserError {
  override name = "ConfigError";
}

/** A file that is missing, truncated, corrupt, or not what its name says. */
export class FormatError extends UserError {
  override name = "FormatError";
}

/** The GPU: no adapter, lost device, out of memory, validation failure. */
export class DeviceError extends UserError {
  override name = "DeviceError";
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
