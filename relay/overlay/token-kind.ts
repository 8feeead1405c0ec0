/** A kind of token of which a topic holds what was signed, and a service finds it: what makes one of them differ from the other. */
import type { z } from 'zod'

/** What a token says, and what it is found by. */
export interface Claim {
  /** Whoever made it: he has at most `perMaker` of them. */
  readonly maker: string
  /** What most questions are about. */
  readonly about: string
}

/** What a question comes to. */
export interface Search<C extends Claim> {
  /** Only these; all without it. */
  readonly about?: readonly string[] | undefined
  readonly fits: (claim: C) => boolean
  readonly limit?: number | undefined
  readonly skip?: number | undefined
}

export interface TokenKind<C extends Claim> {
  readonly topic: string
  readonly service: string
  /** Other names of the service. */
  readonly aliases?: readonly string[]
  readonly about: { readonly topic: string; readonly service: string }
  /** Markdown, below a heading each. */
  readonly documentation: { readonly topic: string; readonly service: string }
  readonly perMaker: number
  /** Its form, of a script that was verified once. */
  parse(script: Uint8Array): C | undefined
  /** All that can be known of it without a chain. */
  read(script: Uint8Array): C | undefined
  readonly query: z.ZodType<Search<C>>
}
