/** Listening as its user sees it: messages as they come, and what follows from them. */
import type { Context } from './context.ts'
import type { FeedPost } from './feeds/feed.ts'
import { FeedListener } from './feeds/listen.ts'
import type { TransferOptions } from './files/transfer.ts'
import type { Message } from './home/inbox.ts'
import type { Incoming } from './home/incoming.ts'
import { listen } from './mail/listen.ts'

export interface HearOptions {
  readonly signal: AbortSignal
  readonly onMessage: (message: Message) => void
  /** Posts of those who are followed and in channels, which are not listened to without it. */
  readonly onPost?: (post: FeedPost) => void
  readonly onLive?: (relay: string) => void
  readonly onFile?: (file: Incoming) => void
  readonly maxFileBytes?: number | undefined
}

/** `finish` fetches files, unless told not to, and brings up what waits. */
export async function hear(
  ctx: Context,
  options: HearOptions,
  finish: (what: TransferOptions & { files?: boolean }) => Promise<{ files: readonly Incoming[] }>,
): Promise<void> {
  const { maxFileBytes } = options
  const waiting = new Set<string>()
  const fetch = async (signal: AbortSignal) => {
    const { files } = await finish({ signal, maxFileBytes })
    for (const file of files) {
      // A file too large to be fetched unasked is told once.
      if (waiting.has(file.path)) continue
      if (file.state === 'waiting') waiting.add(file.path)
      options.onFile?.(file)
    }
  }
  // Acks and the queue do not wait for a long file.
  const answer = async (signal: AbortSignal) => void (await finish({ signal, files: false }))
  const { signal, onPost } = options
  const feeds = onPost && new FeedListener(ctx, { signal, onPost })
  const onMessage = (message: Message) => {
    options.onMessage(message)
    if (aboutFeeds.includes(message.payload.type)) feeds?.review()
  }
  try {
    await listen(ctx, { ...options, onMessage, chores: [fetch, answer] })
  } finally {
    await feeds?.finish()
  }
}

/** Messages by which there are other feeds to be heard, or elsewhere. */
const aboutFeeds = ['channel', 'channel-removed', 'identity']
