"""Health by inference, and whether those who infer are one model: gateway and control both ask for it."""
