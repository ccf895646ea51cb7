import type { NextConfig } from 'next';

const config: NextConfig = {
  // Otherwise Next.js looks for a lock file in the folders above.
  turbopack: { root: import.meta.dirname },
  experimental: {
    // Of one upload. Next.js holds it in memory, and takes 1 MB if nothing is said.
    serverActions: { bodySizeLimit: '500mb' },
  },
};

export default config;
