/** How the user shows himself: the same signed bytes as a file, in a URL, and at his relays. */
import type { Context } from './context.ts'
import { publish, unpublish } from './mail/publish.ts'
import type { Posted } from './mail/post.ts'
import { identityUrl, publicUrl } from './people/identity-url.ts'
import { ownRelays } from './people/relays.ts'
import type { Key } from '../market/units.ts'
import type { CallOptions } from './wire/connection.ts'

export class Card {
  readonly #ctx: Context

  constructor(ctx: Context) {
    this.#ctx = ctx
  }

  /** The whole identity file as a URL, which also leads to where the newest one is, if it is published. */
  async url(): Promise<string> {
    return identityUrl(await this.#ctx.home.me())
  }

  /** Where the own relays serve the file once it is published; of these relays, unless it is all. */
  async places(relays?: readonly Key[]): Promise<string[]> {
    const own = await ownRelays(this.#ctx)
    const served = own.filter(({ key }) => relays?.includes(key) ?? true)
    return served.map(({ url }) => publicUrl(url, this.#ctx.wallet.identity))
  }

  /** From now on, through every change of relays. Undefined when it is published already. @throws as `Client.send` */
  publish(options: CallOptions = {}): Promise<Posted | undefined> {
    return publish(this.#ctx, options)
  }

  /** True when there was something to take back. */
  unpublish(options: CallOptions = {}): Promise<boolean> {
    return unpublish(this.#ctx, options)
  }
}
