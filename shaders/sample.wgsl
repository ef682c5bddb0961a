// One token a row from logits.  logits: [B, V]; uniform_draws, logprobs, truncated: [B]; tokens: u32 [B]
// With z = logits / T and p = softmax(z), in nats:
//   draw      the first token, in vocabulary order, whose cumulative weight among the kept ones exceeds u times their
//             total; logprobs = log p[token] over the whole vocabulary, truncated = over the kept tokens alone
//   greedy    the largest logit, the lowest id where several are; truncated = 0
// Kept where TOP_K is 1: all z at or above the k-th largest (ties with it stay). Where TOP_P is 1, of those: the
// smallest set, largest z first and the lowest id first among equals, whose share of their weight is >= p.
// No sort: the threshold is the largest key, an order-preserving image of z's bits, for which enough tokens (weight)
// lie at or above; two bits of it are settled by each read of the row.
// All overwrite. A row has L lanes, E is vec4f, or f32 where V is not a multiple of 4 (src/tensor/rows.ts): sums run
// in an order that depends on V and the device alone, so a token does not depend on the other rows. Where TEAMED is 1 a row
// has a workgroup, TEAMS times L lanes, each team a run of the vocabulary.

//: for s in 0..SUBGROUPS
enable subgroups;
//: end

struct Params {
  rows: u32,
  width: u32,    // elements E in a row
  trips: u32,    // ceil(width / L), or of a team's run
  columns: u32,  // V
  passes: u32,   // 16, two bits each: a trip count that the compiler must not unroll
  top_k: u32,
  top_p: f32,
  inverse_temperature: f32,
}

@group(0) @binding(0) var<storage, read> logits: array<E>;
@group(0) @binding(1) var<storage, read> flat: array<f32>;
@group(0) @binding(2) var<storage, read> uniform_draws: array<f32>;
@group(0) @binding(3) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(4) var<storage, read_write> logprobs: array<f32>;
@group(0) @binding(5) var<storage, read_write> truncated: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

const NONE = 0xffffffffu;

var<workgroup> team_floats: array<vec3f, TEAMS>;
var<workgroup> team_words: array<u32, TEAMS>;

// Where a thread works: its row, whose elements begin at `base`, and of those the ones from `start` on.
struct Place { row: u32, base: u32, start: u32, lane: u32, team: u32 }

fn place_of(group: vec3u, groups: vec3u, thread: u32) -> Place {
  var row = row_of(group, groups, thread);
  var team = 0u;
  //: for t in 0..TEAMED
  row = group.x + group.y * groups.x;
  team = thread / L;
  //: end
  return Place(row, min(row, params.rows - 1u) * params.width, team * params.trips * L, thread % L, team);
}

// What the teams of a row have together, in their order; every thread asks. `before`: what those before this one have.
struct Together { before: vec3f, whole: vec3f }

fn together(v: vec3f, at: Place) -> Together {
  var sums = Together(vec3f(0.0), v);
  //: for t in 0..TEAMED
  workgroupBarrier();
  if (at.lane == 0u) { team_floats[at.team] = v; }
  workgroupBarrier();
  sums.whole = vec3f(0.0);
  for (var t = 0u; t < TEAMS; t++) {
    if (t == at.team) { sums.before = sums.whole; }
    sums.whole += team_floats[t];
  }
  //: end
  return sums;
}

fn highest_of_all(v: f32, at: Place) -> f32 {
  var high = v;
  //: for t in 0..TEAMED
  workgroupBarrier();
  if (at.lane == 0u) { team_floats[at.team].x = v; }
  workgroupBarrier();
  for (var t = 0u; t < TEAMS; t++) { high = max(high, team_floats[t].x); }
  //: end
  return high;
}

fn least_of_all(v: u32, at: Place) -> u32 {
  var least = v;
  //: for t in 0..TEAMED
  workgroupBarrier();
  if (at.lane == 0u) { team_words[at.team] = v; }
  workgroupBarrier();
  for (var t = 0u; t < TEAMS; t++) { least = min(least, team_words[t]); }
  //: end
  return least;
}

fn row_sum3(v: vec3f) -> vec3f {
  var sum = v;
  //: for m in 0..LOG
  sum += subgroupShuffleXor(sum, 1u << $(m)u);
  //: end
  return sum;
}

fn row_least(v: u32) -> u32 {
  var least = v;
  //: for m in 0..LOG
  least = min(least, subgroupShuffleXor(least, 1u << $(m)u));
  //: end
  return least;
}

// Sums over the lanes before this one, and over all lanes.
fn row_scan(v: f32, lane: u32) -> vec2f {
  var sum = v;
  var before = 0.0;
  //: for m in 0..LOG
  sum += select(0.0, subgroupShuffleUp(sum, 1u << $(m)u), lane >= (1u << $(m)u));
  //: end
  //: for s in 0..SUBGROUPS
  before = select(0.0, subgroupShuffleUp(sum, 1u), lane > 0u);
  sum = subgroupBroadcast(sum, $(L-1)u);
  //: end
  return vec2f(before, sum);
}

fn row_scan_count(v: u32, lane: u32) -> vec2u {
  var sum = v;
  var before = 0u;
  //: for m in 0..LOG
  sum += select(0u, subgroupShuffleUp(sum, 1u << $(m)u), lane >= (1u << $(m)u));
  //: end
  //: for s in 0..SUBGROUPS
  before = select(0u, subgroupShuffleUp(sum, 1u), lane > 0u);
  sum = subgroupBroadcast(sum, $(L-1)u);
  //: end
  return vec2u(before, sum);
}

// z of an element of the row; LOWEST beyond it.
fn scaled(i: u32, at: Place) -> E {
  let z = max(logits[at.base + min(i, params.width - 1u)] * params.inverse_temperature, E(LOWEST));
  return select(E(LOWEST), z, i < params.width);
}

// Orders floats as unsigned integers do; never 0.
fn key_of(z: f32) -> u32 {
  let bits = bitcast<u32>(select(z, 0.0, z == 0.0));  // -0 is 0
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

fn value_of(key: u32) -> f32 { return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u)); }

// Largest z of the row, the sum of exp(z - largest), and what of that earlier teams have.
fn softmax_of(at: Place) -> vec3f {
  var top = LOWEST;
  var sum = 0.0;
  for (var k = 0u; k < params.trips; k++) {
    let i = at.start + k * L + at.lane;
    let z = scaled(i, at);
    let high = max(top, highest(z));
    sum = sum * exp(top - high) + select(0.0, across(exp(z - E(high))), i < params.width);
    top = high;
  }
  let high = highest_of_all(row_max(top), at);
  let mass = together(vec3f(row_sum(sum * exp(top - high)), 0.0, 0.0), at);
  return vec3f(high, mass.whole.x, mass.before.x);
}

// The key of the k-th largest z.
fn kth_largest(at: Place) -> u32 {
  var found = 0u;
  var shift = 32u;
  for (var round = 0u; round < params.passes; round++) {
    shift -= 2u;
    let thresholds = vec3u(found) + vec3u(1u, 2u, 3u) * (1u << shift);
    var count = vec3u(0u);
    for (var k = 0u; k < params.trips; k++) {
      let i = at.start + k * L + at.lane;
      let z = vec4f(scaled(i, at));
      //: for c in 0..W
      count += select(vec3u(0u), vec3u(1u), vec3u(select(0u, key_of(z[$c]), i < params.width)) >= thresholds);
      //: end
    }
    let enough = vec3u(together(row_sum3(vec3f(count)), at).whole >= vec3f(f32(params.top_k)));
    found += (enough.x + enough.y + enough.z) * (1u << shift);
  }
  return found;
}

// The largest key at or above which the weights of keys >= least sum to `goal`. Adding a weight never lowers a sum,
// whatever the rounding, so the search meets no contradiction.
fn nucleus(at: Place, top: f32, least: u32, goal: f32) -> u32 {
  var found = 0u;
  var shift = 32u;
  for (var round = 0u; round < params.passes; round++) {
    shift -= 2u;
    let thresholds = vec3u(found) + vec3u(1u, 2u, 3u) * (1u << shift);
    var mass = vec3f(0.0);
    for (var k = 0u; k < params.trips; k++) {
      let i = at.start + k * L + at.lane;
      let z = vec4f(scaled(i, at));
      let weight = exp(z - vec4f(top));
      //: for c in 0..W
      let key$c = select(0u, key_of(z[$c]), i < params.width);
      mass += select(vec3f(0.0), vec3f(weight[$c]), (vec3u(key$c) >= thresholds) & vec3<bool>(key$c >= least));
      //: end
    }
    let enough = vec3u(together(row_sum3(mass), at).whole >= vec3f(goal));
    found += (enough.x + enough.y + enough.z) * (1u << shift);
  }
  return max(found, least);
}

// Weight of the keys above `edge`, how many equal it, and how many of those earlier teams have.
fn weigh(at: Place, top: f32, edge: u32) -> vec3f {
  var above = 0.0;
  var equal = 0.0;
  for (var k = 0u; k < params.trips; k++) {
    let i = at.start + k * L + at.lane;
    let z = vec4f(scaled(i, at));
    let weight = exp(z - vec4f(top));
    //: for c in 0..W
    let key$c = select(0u, key_of(z[$c]), i < params.width);
    above += select(0.0, weight[$c], key$c > edge);
    equal += select(0.0, 1.0, key$c == edge);
    //: end
  }
  let sums = together(row_sum3(vec3f(above, equal, 0.0)), at);
  return vec3f(sums.whole.xy, sums.before.y);
}

// What is kept: keys above `edge`, and the first `quota` of those that equal it.
struct Kept { edge: u32, quota: u32, equal_before: u32 }

// The first element whose cumulative weight among the kept ones exceeds `goal`, and the last kept one; NONE where this team has
// none. `mass`: the kept weight before this team, and then up to its end.
struct Walk { chosen: u32, last: u32, mass: f32 }

fn walk(at: Place, top: f32, kept: Kept, mass: f32, goal: f32) -> Walk {
  var before = mass;
  var equal_before = kept.equal_before;
  var chosen = NONE;
  var last = 0u;
  for (var k = 0u; k < params.trips; k++) {
    let i = at.start + k * L + at.lane;
    let z = vec4f(scaled(i, at));
    var weight = exp(z - vec4f(top));
    if (TOP_K + TOP_P > 0) {
      //: for c in 0..W
      let key$c = key_of(z[$c]);
      //: end
      if (TOP_P == 1) {
        var equal = 0u;
        //: for c in 0..W
        equal += select(0u, 1u, key$c == kept.edge && i < params.width);
        //: end
        let scanned = row_scan_count(equal, at.lane);
        var rank = equal_before + scanned.x;
        //: for c in 0..W
        weight[$c] = select(0.0, weight[$c], key$c > kept.edge || (key$c == kept.edge && rank < kept.quota));
        rank += select(0u, 1u, key$c == kept.edge);
        //: end
        equal_before += scanned.y;
      } else {
        //: for c in 0..W
        weight[$c] = select(0.0, weight[$c], key$c >= kept.edge);
        //: end
      }
    }
    weight = select(vec4f(0.0), weight, i < params.width);
    let scanned = row_scan(across_four(weight), at.lane);
    var running = before + scanned.x;
    //: for c in 0..W
    running += weight[$c];
    chosen = select(chosen, i * W + $(c)u, weight[$c] > 0.0 && running > goal && chosen == NONE);
    last = select(last, i * W + $(c)u, weight[$c] > 0.0);
    //: end
    before += scanned.y;
  }
  return Walk(row_least(chosen), ~row_least(~last), before);
}

@compute @workgroup_size(THREADS)
fn draw(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32,
) {
  let at = place_of(group, groups, thread);
  let whole = softmax_of(at);
  let top = whole.x;
  var kept = Kept(0u, NONE, 0u);
  var total = whole.y;
  var before = whole.z;
  if (TOP_K == 1) {
    kept.edge = kth_largest(at);
    let weights = weigh(at, top, kept.edge);
    total = weights.x + weights.y * exp(value_of(kept.edge) - top);
  }
  if (TOP_P == 1) {
    let goal = params.top_p * total;
    kept.edge = nucleus(at, top, kept.edge, goal);
    let weights = weigh(at, top, kept.edge);
    let each = exp(value_of(max(kept.edge, 1u)) - top);
    kept.quota = u32(clamp(ceil((goal - weights.x) / each), 1.0, max(weights.y, 1.0)));
    kept.equal_before = u32(weights.z);
    total = weights.x + min(f32(kept.quota), weights.y) * each;
  }
  let goal = uniform_draws[min(at.row, params.rows - 1u)] * total;
  //: for t in 0..TEAMED
  if (TOP_K + TOP_P > 0) { before = together(vec3f(walk(at, top, kept, 0.0, goal).mass, 0.0, 0.0), at).before.x; }
  //: end
  let walked = walk(at, top, kept, before, goal);
  let chosen = least_of_all(walked.chosen, at);
  // Rounding may leave the running sum short of u times the total: then the last kept token is meant.
  let last = ~least_of_all(~walked.last, at);
  if (at.row < params.rows && at.lane == 0u && at.team == 0u) {
    let token = min(select(chosen, last, chosen == NONE), params.columns - 1u);
    let z = max(flat[at.row * params.columns + token] * params.inverse_temperature, LOWEST);
    tokens[at.row] = token;
    logprobs[at.row] = (z - top) - log(whole.y);
    truncated[at.row] = (z - top) - log(total);
  }
}

fn across_four(v: vec4f) -> f32 {
  if (W == 4) { return (v.x + v.y) + (v.z + v.w); }
  return v.x;
}

@compute @workgroup_size(THREADS)
fn greedy(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32,
) {
  let at = place_of(group, groups, thread);
  let whole = softmax_of(at);
  // By the logits themselves: division by T may make two of them equal.
  var best = LOWEST;
  var token = NONE;
  for (var k = 0u; k < params.trips; k++) {
    let i = at.start + k * L + at.lane;
    let v = vec4f(logits[at.base + min(i, params.width - 1u)]);
    //: for c in 0..W
    let better$c = i < params.width && (v[$c] > best || token == NONE);
    token = select(token, i * W + $(c)u, better$c);
    best = select(best, v[$c], better$c);
    //: end
  }
  let high = highest_of_all(row_max(best), at);
  token = least_of_all(row_least(select(NONE, token, best == high)), at);
  if (at.row < params.rows && at.lane == 0u && at.team == 0u) {
    token = min(token, params.columns - 1u);
    let z = max(flat[at.row * params.columns + token] * params.inverse_temperature, LOWEST);
    tokens[at.row] = token;
    logprobs[at.row] = (z - whole.x) - log(whole.y);
    truncated[at.row] = 0.0;
  }
}
