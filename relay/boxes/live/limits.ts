/** What clients of live message boxes may make a relay hold or do. How many may connect stands in relay/limits.ts: `connections`. */
export const liveLimits = {
  /** Characters of one frame, and bytes of one polled payload: a message of 1 MiB, each byte of which is a number in JSON. */
  frameBytes: 5 << 20,
  /** Of all frames that have begun and not ended: the largest are cut off. */
  partialBytes: 128 << 20,
  /** Packets of one client, on average and at once. */
  packetsPerSecond: 200,
  packetsAtOnce: 1000,
  /** As clients are told; one that is silent for longer than both is gone. */
  pingIntervalMs: 25_000,
  pingTimeoutMs: 20_000,
  /** From the probe of a WebSocket to the end of the polling before it. */
  upgradeMs: 10_000,
  /** Until a client has proved who it is. */
  greetingMs: 30_000,
  checkMs: 1000,
  /** How long clients have to agree to the end when the relay stops. */
  partingMs: 1000,
  rooms: 256,
  socketsPerIdentity: 32,
  /** Messages of one client that are being stored. */
  sendsAtOnce: 64,
  /** Memory that the JSON of a message takes while it is stored, by its length. */
  memoryFactor: 4,
} as const
