/** The bare name breaks in plain Node ESM (its main is CommonJS), and the module's path has no types of its own. */
declare module "wgsl_reflect/wgsl_reflect.module.js" {
  export * from "wgsl_reflect";
}
