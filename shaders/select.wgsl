// Choosing elements.  All arrays [n], as vec4s; everything overwrites `result`.
//   clip           result = x held between lo and hi
//   clip_gradient  result = dy where lo <= x <= hi, else 0
//   pick           result = a where mask > 0, else b
//   keep           result = dy where mask > 0 (SIDE = 0) or where it is not (SIDE = 1), else 0
// Values that are not chosen do not matter: NaN and infinity in them do not spread.

struct Params { n4: u32, lo: f32, hi: f32 }

@group(0) @binding(0) var<storage, read> source: array<vec4f>;
@group(0) @binding(1) var<storage, read> mask: array<vec4f>;
@group(0) @binding(2) var<storage, read> a: array<vec4f>;
@group(0) @binding(3) var<storage, read> b: array<vec4f>;
@group(0) @binding(4) var<storage, read> dy: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> result: array<vec4f>;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(64)
fn clip(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.n4; i += stride) {
    result[i] = min(max(source[i], vec4f(params.lo)), vec4f(params.hi));
  }
}

@compute @workgroup_size(64)
fn clip_gradient(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.n4; i += stride) {
    let v = source[i];
    result[i] = select(vec4f(0.0), dy[i], (v >= vec4f(params.lo)) & (v <= vec4f(params.hi)));
  }
}

@compute @workgroup_size(64)
fn pick(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.n4; i += stride) {
    result[i] = select(b[i], a[i], mask[i] > vec4f(0.0));
  }
}

@compute @workgroup_size(64)
fn keep(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.n4; i += stride) {
    result[i] = select(vec4f(0.0), dy[i], (mask[i] > vec4f(0.0)) == vec4<bool>(SIDE == 0));
  }
}
