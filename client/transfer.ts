/** What sending and fetching a file have in common for those who watch it. */
import type { CallOptions } from './connection.ts'

export interface Progress {
  readonly direction: 'sending' | 'fetching'
  readonly name: string
  readonly doneBytes: number
  readonly totalBytes: number
}

export interface TransferOptions extends CallOptions {
  readonly onProgress?: ((progress: Progress) => void) | undefined
}
