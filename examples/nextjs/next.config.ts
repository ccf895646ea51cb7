import type { NextConfig } from 'next';

const config: NextConfig = {
  // Otherwise Next.js looks for a lock file in the folders above.
  turbopack: { root: import.meta.dirname },
  experimental: {
    // With it, `next dev` makes a cache key of each upload, which takes half a second a megabyte.
    serverComponentsHmrCache: false,
    // Of one upload. Next.js holds it in memory, and takes 1 MB if nothing is said.
    serverActions: { bodySizeLimit: '500mb' },
  },
};

export default config;
