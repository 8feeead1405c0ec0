/**
 * What a relay signs for when it is asked what a purse was used for, pull by pull (docs/protocol.md §4.10). Each purse has
 * a chain of hashes over its pulls, so that of two signed reports one is a prefix of the other, or the relay is caught.
 */
import { z } from 'zod'
import { toUtf8 } from '../market/bytes.ts'
import { sha256, sha256Into } from '../market/hash.ts'
import { Path } from '../market/record.ts'
import { Hash, Milliseconds, Satoshis } from '../market/units.ts'
import { Count, PurseName } from './account.ts'

export const usageLimits = {
  /** Pulls of one page, whatever a relay's own pages are. */
  page: 1000,
} as const

/** One pull that a purse was charged for, and the place it has among all pulls of this purse, from 1. */
export const UsagePull = z.object({
  seq: z.int().min(1),
  path: Path,
  bytes: z.int().min(1),
  at: Milliseconds,
  /** Hash of the receiver's signed read; null where it came through the file-system view, which nobody signs for others. */
  re: Hash.nullable(),
})
export type UsagePull = z.infer<typeof UsagePull>

/**
 * A page of the pulls of one purse, oldest first, and what the whole purse has come to at `at`, as in a statement
 * (contracts/account.ts). The last page (no `more` beside it) has every pull up to `at`.
 */
export const UsageReport = z.object({
  type: z.literal('UsageReport'),
  account: PurseName,
  at: Milliseconds,
  /** `seq` of the first pull here; of the next one there will be, where there is none. */
  fromSeq: z.int().min(1),
  count: z.int().min(0),
  /** The chain after the last pull here. */
  chain: Hash,
  byteMs: Count,
  egress: Count,
  ingress: Count,
  owed: Satoshis,
  pulls: z.array(UsagePull).max(usageLimits.page),
  /** With `evidence`: the signed read of each pull, verbatim; null where `re` is. */
  reads: z.array(z.string().nullable()).max(usageLimits.page).optional(),
})
export type UsageReport = z.infer<typeof UsageReport>

/** The chain of a purse before its first pull. */
export const usageStart = (purse: string): Uint8Array => sha256(toUtf8(`relay usage 1${purse}`))

/** Chain and entry side by side; of no meaning between calls. */
const both = new Uint8Array(64)

/** The chain after one more pull: SHA-256(chain ‖ SHA-256(canonical text of the pull)). */
export function usageAfter(chain: Uint8Array, { at, bytes, path, re, seq }: UsagePull): Uint8Array {
  // A path has no character that JSON would escape, so this is the canonical text (RFC 8785).
  const signed = re === null ? 'null' : `"${re}"`
  const entry = `{"at":${at},"bytes":${bytes},"path":"${path}","re":${signed},"seq":${seq}}`
  both.set(chain)
  sha256Into(both, 32, entry)
  const next = new Uint8Array(32)
  sha256Into(next, 0, both)
  return next
}
