/** The overlay of a running relay, how its own advert gets onto overlays, and what else it says of itself there. */
import type { Outlet } from '../../market/channels/channel.ts'
import type { Config } from '../config.ts'
import type { Core, Undo } from '../core.ts'
import { overlayDirectory } from '../data-directory.ts'
import type { Treasury } from '../treasury.ts'
import { Announcer } from './announcer.ts'
import type { Authorization } from './authorizations.ts'
import { overlayOutlets, submitTo } from './outlets.ts'
import { Overlay } from './overlay.ts'

export interface OpenedOverlay {
  /** Absent with `--no-overlay`. */
  readonly host: Overlay | undefined
  /** Opens an outlet by what stands behind `overlay:`. @throws ERR_MALFORMED */
  readonly outlet: (target: string) => Outlet
  /** Somebody lets this relay take messages for him; absent where nobody would be told. @throws ERR_BUSY, ERR_LIMIT */
  readonly authorize: ((authorization: Authorization) => Promise<void>) | undefined
  /** To be called after the chain was heard. Never rejects. */
  follow(): Promise<void>
}

/** Where there are coins: what is on an overlay is on a chain. */
export function openOverlay(
  config: Config,
  { treasury, now, log, means }: Core & { treasury: Treasury },
  undo: Undo,
): OpenedOverlay {
  const wallet = () => treasury.desk.wallet
  const host = config.overlay
    ? new Overlay({
        ...{ directory: overlayDirectory(config.data), network: treasury.network, now, log },
        ...{ admit: means.admitWrite, bits: config.limits.advertBits },
        denied: new Set(config.federation.denied),
        chain: () => wallet().chain,
      })
    : undefined
  const { told } = config.federation
  const announcer = new Announcer({
    ...{ wallet, now, log, uri: told.length === 0 ? undefined : config.publicUrl },
    // Who is told nothing any more is told of that.
    told: told.length === 0 && host !== undefined ? ['self'] : told,
    submit: (where, submission, signal) =>
      where === 'self' && host !== undefined ? host.submit(submission) : submitTo(where, submission, signal),
    authorizations: async () => host?.authorizations() ?? [],
  })
  undo.push(async () => {
    await treasury.hangUp()
    await announcer.close()
    await host?.close()
  })
  return {
    host,
    outlet: overlayOutlets({ wallet, overlay: host }),
    authorize:
      told.length === 0 || host === undefined
        ? undefined
        : async (authorization) => {
            await host.authorize(authorization)
            announcer.touch()
          },
    async follow() {
      await host?.follow()
      announcer.follow()
    },
  }
}
