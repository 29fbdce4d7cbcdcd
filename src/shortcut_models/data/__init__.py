"""Files to rows: images and demonstrations. Knows no network and no trainer."""
