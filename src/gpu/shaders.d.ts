/** All shaders as one module, by name. The build makes it (scripts/embed-shaders.mjs); sources have the files themselves. */
export declare const SHADERS: Readonly<Record<string, string>>;
