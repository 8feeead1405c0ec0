/** The overlay of a running relay, and the channels that its advert goes to overlays by. */
import type { AdvertChannel } from '../../market/channels/channel.ts'
import { parseChannel } from '../../market/channels/open.ts'
import type { Config } from '../config.ts'
import type { Core, Undo } from '../core.ts'
import { overlayDirectory } from '../data-directory.ts'
import { outside } from '../market/outside.ts'
import type { Treasury } from '../treasury.ts'
import { OverlayChannels } from './channels.ts'
import { Overlay } from './overlay.ts'

export interface OpenedOverlay {
  /** Absent with `--no-overlay`. */
  readonly host: Overlay | undefined
  /** Opens a channel by its name, `overlay:…`. @throws ERR_MALFORMED */
  readonly channel: (name: string) => Promise<AdvertChannel>
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
        chain: () => wallet().chain,
      })
    : undefined
  undo.push(async () => {
    await treasury.hangUp()
    await host?.close()
  })
  const channels = new OverlayChannels({ wallet, overlay: host, outside: outside({ now }) })
  return { host, channel: async (name) => channels.open(name, parseChannel(name).target) }
}
