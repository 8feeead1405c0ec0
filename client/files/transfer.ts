/** What sending and fetching a file have in common for those who watch it. */
import type { CallOptions } from '../wire/connection.ts'

export const transferLimits = {
  /** Larger files wait until they are asked for. */
  maxFileBytes: 100 * 1024 * 1024,
  /** What fetching leaves free on the disk of the home. */
  keepFreeBytes: 512 * 1024 * 1024,
} as const

export interface Progress {
  readonly direction: 'sending' | 'fetching'
  readonly name: string
  readonly doneBytes: number
  readonly totalBytes: number
}

export interface TransferOptions extends CallOptions {
  readonly onProgress?: ((progress: Progress) => void) | undefined
  readonly maxFileBytes?: number | undefined
  readonly keepFreeBytes?: number | undefined
  /** A relay that is silent for so long is raced by the next one that may have a chunk. */
  readonly hedgeMs?: number | undefined
}
